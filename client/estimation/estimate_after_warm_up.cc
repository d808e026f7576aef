#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/hessian_form.h"
#include "client/estimation/warm_up.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kGradientsAPoint = 64;
constexpr int64_t kMostPoints = 64;  // measured up to here; bounds the memory and the time of a step
constexpr int64_t kLongestLook = 4096;
// Excess of the diagonal over such a look that asks for another step. Its noise, on rare one-hot columns, is 0.5.
constexpr double kMeanExcess = 0.1;
constexpr double kLargestExcess = 1;
constexpr int64_t kFewestCount = 8 * kGradientsAPoint;

// Subnormal weights are refused by oracles.
Eigen::VectorXd WithoutSubnormals(const Eigen::VectorXd& weights) {
  return weights.unaryExpr([](double w) { return std::abs(w) < std::numeric_limits<double>::min() ? 0.0 : w; });
}

}  // namespace

absl::StatusOr<HessianEstimate> WarmUpAndEstimate(EstimationRun& run, const NoiseChoice& noise, Eigen::VectorXd weights,
                                                  const RowMajorMatrix& pilot) {
  const int64_t count = run.options.count;
  GRADORACLE_RETURN_IF_ERROR(CheckMemory(HessianForm::kDense, run.info.dimension, count, kDefaultSketchRows));
  WarmUpPath path(run.info.dimension, run.options.batch_size, noise.total_noise_variance);
  int64_t spent = 0;
  int64_t points = 0;
  const auto visited = [&](const RowMajorMatrix& gradients) {
    path.Add(weights, gradients);
    ++points;
    spent += gradients.rows();
  };
  const auto move = [&] { weights = WithoutSubnormals(path.Next(run.info.limits.max_weights_norm)); };

  // Steps by short averages.
  if (pilot.rows() > 0) {
    visited(pilot);
    move();
  }
  bool converged = false;
  while (!converged && path.points() < kMostPoints && spent + kGradientsAPoint <= count / 4) {
    GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix gradients,
                                run.requests.Fetch(QueryAt(run, weights, kGradientsAPoint, noise)));
    if (run.requests.stopped()) return Interrupted(Estimator::kWarmUp);
    visited(gradients);
    converged = path.Converged();
    if (!converged) move();
  }

  // A long look at where they led; its gradients count when they are kept.
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator,
                              MakeEstimator(run, noise.total_noise_variance, run.requests.remaining()));
  const int64_t look = std::min(count / 8, kLongestLook);
  bool looked = false;
  WarmUpPath::Excess excess;
  while (estimator.count() == 0 && run.requests.remaining() - look >= count / 2 && !run.requests.stopped()) {
    GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix gradients, run.requests.Fetch(QueryAt(run, weights, look, noise)));
    if (gradients.rows() >= 2) excess = path.ExcessOf(gradients);
    if (run.requests.stopped() || !(excess.mean > kMeanExcess || excess.largest > kLargestExcess)) {
      GRADORACLE_RETURN_IF_ERROR(estimator.Add(gradients));
    } else {
      // The short averages that missed those rows seem nearer than they are: only long ones count from here on.
      if (!looked) path = WarmUpPath(run.info.dimension, run.options.batch_size, noise.total_noise_variance);
      looked = true;
      visited(gradients);
      move();
    }
  }
  const int64_t rest = run.requests.remaining();
  if (rest > 0) GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, weights, rest, noise), estimator));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate estimate,
                              CovarianceEstimate(run, estimator, weights, Estimator::kWarmUp));
  estimate.reason = absl::StrFormat("%d gradients at %d points led to where the covariance was taken", spent, points);
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
  return WarmUpAndEstimate(run, noise, run.options.weights, RowMajorMatrix(0, run.info.dimension));
}

}  // namespace gradoracle
