#ifndef GRADORACLE_CORE_NORMAL_VARIANTS_H_
#define GRADORACLE_CORE_NORMAL_VARIANTS_H_

#include <cstddef>
#include <cstdint>

// The compiled variants behind StandardNormalFromWords; internal, for the dispatch and its tests. All give the same
// bits: there is no contraction and no reduction in them, so only their width differs. words and out may be the same.
namespace gradoracle::internal {

using NormalVariant = void (*)(const uint64_t* words, double* out, size_t count);

void StandardNormalX8664V2(const uint64_t* words, double* out, size_t count);
void StandardNormalX8664V3(const uint64_t* words, double* out, size_t count);
void StandardNormalX8664V4(const uint64_t* words, double* out, size_t count);

}  // namespace gradoracle::internal

#endif  // GRADORACLE_CORE_NORMAL_VARIANTS_H_
