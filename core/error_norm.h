#ifndef GRADORACLE_CORE_ERROR_NORM_H_
#define GRADORACLE_CORE_ERROR_NORM_H_

#include "Eigen/Core"
#include "absl/status/statusor.h"

namespace gradoracle {

// Spectral norm of a symmetric matrix: the largest absolute eigenvalue. Exact (full eigenvalues) up to d = 256, by
// Lanczos (Spectra, relative tolerance 1e-6, verified; the full spectrum should it fail) above. Only the lower triangle
// is read. NaN when an entry of it is not finite, 0 for a (0, 0) matrix.
double SpectralNormSymmetric(const Eigen::Ref<const Eigen::MatrixXd>& matrix);

// ||estimate - truth||_2 / ||truth||_2 for symmetric (d, d) matrices; the difference is symmetrised first.
// Errors: kInvalidArgument (shapes differ, not square, non-finite entry), kFailedPrecondition (truth is zero).
absl::StatusOr<double> RelativeError(const Eigen::Ref<const Eigen::MatrixXd>& estimate,
                                     const Eigen::Ref<const Eigen::MatrixXd>& truth);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ERROR_NORM_H_
