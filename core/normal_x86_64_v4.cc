#define GRADORACLE_NORMAL_VARIANT StandardNormalX8664V4
#include "core/normal_variant.inc"
