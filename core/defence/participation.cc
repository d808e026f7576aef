#include "core/defence/participation.h"

namespace gradoracle {

int64_t LargestParticipation(int64_t row_count, int64_t batch_size, int64_t count) {
  const int64_t batches_per_epoch = row_count / batch_size;
  return (count - 1) / batches_per_epoch + 1;
}

}  // namespace gradoracle
