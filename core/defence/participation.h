#ifndef GRADORACLE_CORE_DEFENCE_PARTICIPATION_H_
#define GRADORACLE_CORE_DEFENCE_PARTICIPATION_H_

#include <cstdint>

#include "core/sampling.h"

namespace gradoracle {

// How often any one row is used, at most, by a request for m = `count` gradients of n = `batch_size` of N = `row_count`
// rows (theory 6a.2). In shuffled epochs
//   ceil(m / floor(N / n)),
// the number of epochs begun; a row is in at most one batch of an epoch. (Not ceil(m n / N): where n does not divide N
// an epoch leaves N mod n rows out, and the next one begins earlier.) Otherwise m, the row being in every batch; m n
// for iid sampling, which may draw it each time, or 2^63 - 1 where that is more.
// Requires 1 <= n <= N (iid: 1 <= n), m >= 1.
int64_t LargestParticipation(Sampling sampling, int64_t row_count, int64_t batch_size, int64_t count);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DEFENCE_PARTICIPATION_H_
