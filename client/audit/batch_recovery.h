#ifndef GRADORACLE_CLIENT_AUDIT_BATCH_RECOVERY_H_
#define GRADORACLE_CLIENT_AUDIT_BATCH_RECOVERY_H_

#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "core/regression_data.h"

// Whose rows made this gradient? The noise on the targets never leaves the span of the batch's rows, so for n < d a
// gradient tells its batch to whoever has a list of candidate rows [theory 6a.3].
namespace gradoracle {

// |cos| between a gradient and the candidate row that is closest to it in direction. At n = 1 it is 1, whatever the
// noise. rows: (N, d); gradient: (d).
struct ClosestRow {
  int64_t row = -1;  // -1: the gradient, or every row, is zero
  double cosine = 0;
};
ClosestRow FindClosestRow(const RowMajorMatrix& rows, const Eigen::VectorXd& gradient);

// The rows of the batch behind one gradient, by orthogonal matching pursuit: again and again the candidate closest in
// direction to what is left, and what is left after least squares on the candidates taken. If that fails, once more
// from each of the 16 best first candidates. `exact` when at most n candidates leave less than 1e-5 of the gradient:
// for rows in general position and n <= d - 3 that happens by chance with probability below N 1e-15, so that the rows
// are those of the batch, or duplicates of them.
struct RecoveredBatch {
  bool exact = false;
  std::vector<int64_t> rows;  // into the candidates, in the order they were found
  double residual = 1;        // |what is left| / |gradient|
};
// Requires 1 <= batch_size <= d - 3. Cost: at most 17 n N d multiplications.
RecoveredBatch RecoverBatch(const RowMajorMatrix& rows, const Eigen::VectorXd& gradient, int64_t batch_size);

inline constexpr int64_t kSpareDimensions = 3;

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_BATCH_RECOVERY_H_
