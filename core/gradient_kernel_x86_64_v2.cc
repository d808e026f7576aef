#define GRADORACLE_KERNEL_VARIANT MinibatchGradientX8664V2
#include "core/gradient_kernel_variant.inc"
