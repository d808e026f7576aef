#ifndef GRADORACLE_CLIENT_AUDIT_MISCALIBRATION_H_
#define GRADORACLE_CLIENT_AUDIT_MISCALIBRATION_H_

#include <cstdint>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "core/gradient_source.h"
#include "core/regression_data.h"

// Is the noise what the oracle says? With the owner's rows the covariance of a gradient is known but for the variance v
// injected into the targets [theory 1.4.5]:
//   Cov(g) = (v H + f Cov_N(h)) / n,   h_i = x_i (x_i'w - y_i),
// f the sampling's variance factor of one gradient. E z = tr(C_0^+ (v H + f Cov_N(h)))/n of z = (g - mu)'C_0^+(g - mu),
// mu = H w - X'y/N, is linear in v, whatever the law of the features, so that the mean of z estimates v without bias.
namespace gradoracle {

struct NoiseScale {
  int64_t gradients = 0;
  double total_over_batch_size = 0;  // (v_hat + f sigma^2)/n: 1 for a calibrated oracle
  double standard_error = 0;
  double deviations = 0;  // (total_over_batch_size - 1)/standard error under the null, from the sample's own spread
  // |deviations| > 7 has probability 3e-12 for Gaussian means; it is used as a limit of at most 1e-6, because the
  // central limit theorem is not to be trusted so far out [theory 7].
  bool miscalibrated() const;
};

// Asks `source` for `count` gradients at w = 0 with batches of n. data: the owner's rows in served units; hessian and
// residual_variance: theirs. Errors: the source's; kFailedPrecondition TOO_FEW_GRADIENTS (count < 100).
absl::StatusOr<NoiseScale> MeasureNoiseScale(GradientSource& source, const RegressionData& data,
                                             const Eigen::MatrixXd& hessian, double residual_variance,
                                             int64_t batch_size, int64_t count);

// (1/N) sum (h_i - hbar)(h_i - hbar)' of h_i = x_i (x_i'w - y_i), shape (d, d).
Eigen::MatrixXd RowGradientCovariance(const RegressionData& data, const Eigen::VectorXd& weights);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_MISCALIBRATION_H_
