#ifndef GRADORACLE_CLIENT_ESTIMATION_ROW_SPACE_H_
#define GRADORACLE_CLIENT_ESTIMATION_ROW_SPACE_H_

#include <cstdint>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/estimation/scatter_factor.h"
#include "core/regression_data.h"

namespace gradoracle {

// Keeps m gradients of dimension d >> m and works in the space they span: the eigenpairs of the scatter
// sum (g_k - mean)(g_k - mean)' come from the (m, m) Gram matrix of the centred gradients [theory 2]. Exact, O(m d)
// memory, O(m^2 d) operations. Not thread-safe.
class RowSpace {
 public:
  // Room for `capacity` gradients. Requires dimension >= 1, capacity >= 1.
  RowSpace(int64_t dimension, int64_t capacity) : gradients_(capacity, dimension) {}

  static double MemoryBytes(int64_t dimension, int64_t capacity);

  // Adds gradients, shape (k, d). Errors: kInvalidArgument DIMENSION_MISMATCH, NOT_FINITE; kOutOfRange COUNT_TOO_LARGE
  // (more than the capacity). Nothing of the block is added then.
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients);

  int64_t count() const { return count_; }

  // The exact factor, at most m - 1 rows, and the norms of `draws` split differences,
  //   D = (1/m) sum e_k (g_k - mean)(g_k - mean)',  e_k = +-1, as many of either sign [theory 1.3],
  // with signs from `generator`. Uses the gradients' memory: this object is then empty. Requires count() >= 2.
  ScatterFactor TakeFactor(absl::BitGenRef generator, int draws);

 private:
  RowMajorMatrix gradients_;
  int64_t count_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ROW_SPACE_H_
