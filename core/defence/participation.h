#ifndef GRADORACLE_CORE_DEFENCE_PARTICIPATION_H_
#define GRADORACLE_CORE_DEFENCE_PARTICIPATION_H_

#include <cstdint>

namespace gradoracle {

// How often any one row is used, at most, by a request for `count` gradients of `batch_size` rows in shuffled epochs:
//   ceil(m / floor(N / n)),
// the number of epochs begun; a row is in at most one batch of an epoch. (Not ceil(m n / N): where n does not divide N
// an epoch leaves N mod n rows out, and the next one begins earlier.) Theory 6a.2.
// Requires 1 <= n <= N, m >= 1.
int64_t LargestParticipation(int64_t row_count, int64_t batch_size, int64_t count);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DEFENCE_PARTICIPATION_H_
