#define GRADORACLE_KERNEL_VARIANT MinibatchGradientX8664V3
#include "core/gradient_kernel_variant.inc"
