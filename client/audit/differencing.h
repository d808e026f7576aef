#ifndef GRADORACLE_CLIENT_AUDIT_DIFFERENCING_H_
#define GRADORACLE_CLIENT_AUDIT_DIFFERENCING_H_

#include <cstdint>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "core/gradient_source.h"

// One row was appended and the oracle served again in the same units: what does the difference tell of the row x, y?
//   (N + 1) H' - N H = x x',   (N + 1) g'(w) - N g(w) = x (x'w - y) in the mean.
namespace gradoracle {

struct AppendedRow {
  Eigen::VectorXd direction;  // x/|x| up to its sign, (d)
  double norm = 0;            // |x|
  int64_t gradients = 0;      // spent on both oracles together
};

// From Hessians before (N rows) and after (N + 1): the top eigenpair of (N + 1) H' - N H.
AppendedRow RowFromHessians(const Eigen::MatrixXd& before, const Eigen::MatrixXd& after, int64_t row_count_before);

// From mean gradients of both oracles at +-R v: their difference over 2R is x (x'v) in expectation, whatever y and w*.
// v is random first, then what was found: a power iteration, whose four rounds spend 1/8, 1/8, 1/4 and 1/2 of the
// budget; |x|^2 is the length of the last answer along v. R is each oracle's smaller limit, the batches of n as given.
// Errors: those of the sources; kFailedPrecondition TOO_FEW_GRADIENTS (budget < 32).
absl::StatusOr<AppendedRow> RowFromGradients(GradientSource& before, GradientSource& after, int64_t batch_size,
                                             int64_t budget, absl::BitGenRef generator);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_DIFFERENCING_H_
