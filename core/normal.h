#ifndef GRADORACLE_CORE_NORMAL_H_
#define GRADORACLE_CORE_NORMAL_H_

#include <cstdint>

#include "absl/types/span.h"

namespace gradoracle {

// Standard normal variates by inverse CDF: out[i] = Phi^-1((floor(words[i] / 2^11) + 1/2) / 2^53), Wichura's AS 241
// (PPND16, Appl. Statist. 37, 1988; relative error about 1e-16) with its own branch-free logarithm, no fused
// multiply-add and no library function: one word a variate, time independent of its value, the same bits on every CPU.
// |out| <= 8.3. Requires words.size() == out.size(). In-place use is allowed (the arrays may be the same memory).
void StandardNormalFromWords(absl::Span<const uint64_t> words, absl::Span<double> out);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_NORMAL_H_
