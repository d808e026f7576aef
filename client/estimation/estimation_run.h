#ifndef GRADORACLE_CLIENT_ESTIMATION_ESTIMATION_RUN_H_
#define GRADORACLE_CLIENT_ESTIMATION_ESTIMATION_RUN_H_

#include <string>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/estimation/estimator.h"
#include "client/estimation/fourth_moment.h"
#include "client/estimation/gradient_trimmer.h"
#include "client/estimation/noise_level.h"
#include "client/estimation/requests.h"
#include "core/oracle_info.h"

namespace gradoracle {

// One call of EstimateHessian, as its estimators see it.
struct EstimationRun {
  const EstimationOptions& options;
  const OracleInfo& info;
  Requests& requests;
  absl::BitGenRef generator;
  FourthMoment* fourth_moment = nullptr;  // gathered beside the covariance where the shrinkage needs it

  bool unit_diagonal_known() const { return HasUnitDiagonal(info); }
  bool impose_unit_diagonal() const { return unit_diagonal_known() && options.impose_unit_diagonal; }
};

// options.weights, options.batch_size, `count` and the noise asked for.
GradientQuery QueryAt(const EstimationRun& run, const Eigen::VectorXd& weights, int64_t count,
                      const NoiseChoice& noise);

// An empty estimator for the run's dimension and batch size, expecting `count` gradients.
absl::StatusOr<HessianEstimator> MakeEstimator(const EstimationRun& run, double total_noise_variance, int64_t count);

// The query's gradients added to `estimator`.
absl::Status Gather(const EstimationRun& run, const GradientQuery& query, HessianEstimator& estimator);

// The same, but for the gradients that `trimmer` leaves out. The stream may be stopped early.
absl::Status GatherTrimmed(const EstimationRun& run, const GradientQuery& query, GradientTrimmer& trimmer,
                           HessianEstimator& estimator);

// The estimate from what `estimator` holds, a covariance at `weights`: with not_converged, gradients (all the run's)
// and `used`, the estimator's name, filled in. Errors: kCancelled INTERRUPTED when the run was stopped with fewer
// than 2.
absl::StatusOr<HessianEstimate> CovarianceEstimate(const EstimationRun& run, const HessianEstimator& estimator,
                                                   const Eigen::VectorXd& weights, Estimator used);

// kCancelled INTERRUPTED: stopped before `estimator` had what it needs.
absl::Status Interrupted(Estimator estimator);

// The estimators. Each spends at most requests.remaining().
absl::StatusOr<HessianEstimate> EstimateByCovariance(EstimationRun& run);
absl::StatusOr<HessianEstimate> EstimateByCorrection(EstimationRun& run);
absl::StatusOr<HessianEstimate> EstimateByTwoLevels(EstimationRun& run);
absl::StatusOr<HessianEstimate> EstimateByProbe(EstimationRun& run);
absl::StatusOr<HessianEstimate> EstimateActively(EstimationRun& run);
absl::StatusOr<HessianEstimate> EstimateAfterWarmUp(EstimationRun& run);
absl::StatusOr<HessianEstimate> EstimateByRule(EstimationRun& run);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ESTIMATION_RUN_H_
