#define GRADORACLE_NORMAL_VARIANT StandardNormalX8664V2
#include "core/normal_variant.inc"
