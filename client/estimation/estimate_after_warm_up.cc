#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/warm_up.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kGradientsAPoint = 64;
constexpr int64_t kMostPoints = 64;  // measured up to here; bounds the memory and the time of a step
constexpr int64_t kFewestCount = 8 * kGradientsAPoint;

// Subnormal weights are refused by oracles.
Eigen::VectorXd WithoutSubnormals(const Eigen::VectorXd& weights) {
  return weights.unaryExpr([](double w) { return std::abs(w) < std::numeric_limits<double>::min() ? 0.0 : w; });
}

}  // namespace

absl::StatusOr<WarmUp> WalkToOptimum(EstimationRun& run, const NoiseChoice& noise, const RowMajorMatrix& pilot,
                                     int64_t budget) {
  WarmUpPath path(run.info.dimension, run.options.batch_size, noise.total_noise_variance);
  WarmUp walk;
  walk.weights = run.options.weights;
  const auto step = [&] {
    walk.points = path.points();
    walk.converged = path.Converged();
    if (!walk.converged) walk.weights = WithoutSubnormals(path.Next(run.info.limits.max_weights_norm));
  };
  if (pilot.rows() > 0) {
    path.Add(walk.weights, pilot);
    walk.gradients = pilot.rows();
    step();
  }
  while (!walk.converged && path.points() < kMostPoints && walk.gradients + kGradientsAPoint <= budget) {
    GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix gradients,
                                run.requests.Fetch(QueryAt(run, walk.weights, kGradientsAPoint, noise)));
    if (run.requests.stopped()) return Interrupted(Estimator::kWarmUp);
    walk.gradients += gradients.rows();
    path.Add(walk.weights, gradients);
    step();
  }
  return walk;
}

absl::StatusOr<HessianEstimate> WarmUpAndEstimate(EstimationRun& run, const NoiseChoice& noise,
                                                  const RowMajorMatrix& pilot) {
  GRADORACLE_ASSIGN_OR_RETURN(const WarmUp walk, WalkToOptimum(run, noise, pilot, run.options.count / 4));
  const int64_t rest = run.requests.remaining();
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator, MakeEstimator(run, noise.total_noise_variance, rest));
  GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, walk.weights, rest, noise), estimator));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate estimate,
                              CovarianceEstimate(run, estimator, walk.weights, Estimator::kWarmUp));
  estimate.reason = absl::StrFormat("%d gradients at %d points led to where the covariance was taken%s", walk.gradients,
                                    walk.points, walk.converged ? "" : " (not yet settled)");
  return estimate;
}

absl::StatusOr<HessianEstimate> EstimateAfterWarmUp(EstimationRun& run) {
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseChoice noise,
                              ChooseNoise(run.info.noise, run.options.batch_size, run.options.total_noise_variance));
  if (!run.unit_diagonal_known()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "UNIT_DIAGONAL_UNKNOWN", "estimator",
                     "estimator is warm_up, which needs the diagonal of the Hessian, known only where features are "
                     "standardised (info: scaling); use --estimator covariance near the optimum, or probe or active");
  }
  if (run.options.count < kFewestCount) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count is ", run.options.count, ", but warm_up needs at least ", kFewestCount,
                                  " gradients, a quarter of them for steps of 64"));
  }
  return WarmUpAndEstimate(run, noise, RowMajorMatrix(0, run.info.dimension));
}

}  // namespace gradoracle
