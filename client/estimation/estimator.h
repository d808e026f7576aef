#ifndef GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_H_
#define GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_H_

#include <cstdint>
#include <optional>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/estimation/estimator_name.h"
#include "client/estimation/hessian_estimator.h"
#include "client/estimation/hessian_form.h"
#include "client/estimation/requests.h"
#include "client/estimation/shrinkage.h"
#include "core/gradient_source.h"

namespace gradoracle {

// The Hessian from `count` gradients of a source, by one of
//   covariance  n/tau^2 Cov(g) at `weights`. One request. Right near the optimum. [theory 1.1]
//   corrected   the same with the residuals' part subtracted, for nearly Gaussian features. One request. [1.4.2]
//   two_level   n (C_1 - C_0)/(tau_1^2 - tau_0^2) at `weights`, half the gradients each. [1.4.3 i]
//   probe       Cov(g) with the targets switched off: exact everywhere. One request. [1.4.7]
//   active      differences of gradients at +-R q_j, q_j a random orthonormal frame. 2d requests and more. [3.1]
//   warm_up     steps towards the optimum, at most count/2, then covariance there. [estimators on real data, A.7]
//   auto        one of these, from what the oracle says about itself and a pilot of 128 gradients.
// `weights` binds covariance, corrected, two_level; the others may query anywhere within the limits.
struct EstimationOptions {
  Estimator estimator = Estimator::kAuto;
  Eigen::VectorXd weights;  // (d)
  int64_t batch_size = 0;   // n
  int64_t count = 0;        // m, gradients in all, never exceeded: 2 <= m <= limits.max_count
  // tau^2 of the gradients, where the oracle does not tell it; or one of the oracle's extra variances, to be asked for.
  std::optional<double> total_noise_variance;
  bool impose_unit_diagonal = true;  // where diag H = 1 is known (scaling `standardised`)
  double level = 0.95;               // of the error limit, in (0.5, 1)
  // For dimensions without room for a (d, d) matrix (hessian_form.h). Only `covariance`, untrimmed and not shrunk.
  HessianForm form = HessianForm::kDense;
  int64_t sketch_rows = kDefaultSketchRows;
  // Share of the gradients to leave out, the farthest (gradient_trimmer.h); 0: none. Only `covariance`.
  double trim = 0;
  // Shrink the estimate for inversion (shrinkage.h). Only `covariance` and `probe`: no other is a sample covariance.
  ShrinkageMethod shrinkage = ShrinkageMethod::kNone;
  // False stops: the estimate is then made from what has been gathered, if the estimator can.
  ProgressFunction progress;
  // Unless null, a source that fails after the first gradient is no error either: the estimate is made from what has
  // come, if the estimator can, and what went wrong is put here. Look at it: OK means that nothing is missing.
  absl::Status* source_failure = nullptr;
};

// `generator` draws the frame of `active` and the signs of the error limits.
// Errors, apart from those of the source: kInvalidArgument of HessianEstimator::Create and ChooseNoise;
//   kInvalidArgument ESTIMATOR_CONFLICT (form, trim or shrinkage with an estimator, or another form, they do not suit);
//   kOutOfRange COUNT_TOO_LARGE and the like, before anything is asked, when several requests together would pass a
//   limit of one [core/query_policy.h];
//   kFailedPrecondition TOO_FEW_GRADIENTS (what the estimator needs, in words), CORRECTION_REFUSED (kappa_hat > 0.25:
//   the correction would hurt), EXTRA_NOISE_NOT_OFFERED (two_level), CURVATURE_PROBE_NOT_OFFERED (probe),
//   UNIT_DIAGONAL_UNKNOWN (warm_up), kCancelled INTERRUPTED (stopped too early for any estimate).
absl::StatusOr<HessianEstimate> EstimateHessian(GradientSource& source, const EstimationOptions& options,
                                                absl::BitGenRef generator);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_H_
