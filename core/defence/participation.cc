#include "core/defence/participation.h"

#include <limits>

namespace gradoracle {

int64_t LargestParticipation(Sampling sampling, int64_t row_count, int64_t batch_size, int64_t count) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  switch (sampling) {
    case Sampling::kShuffledEpochs: {
      const int64_t batches_per_epoch = row_count / batch_size;
      return (count - 1) / batches_per_epoch + 1;
    }
    case Sampling::kIid:
      return count <= kMost / batch_size ? count * batch_size : kMost;
    case Sampling::kWithoutReplacement:
    case Sampling::kPoisson:
      break;
  }
  return count;
}

}  // namespace gradoracle
