#define GRADORACLE_KERNEL_VARIANT MinibatchGradientX8664V4
#include "core/gradient_kernel_variant.inc"
