#define GRADORACLE_NORMAL_VARIANT StandardNormalX8664V3
#include "core/normal_variant.inc"
