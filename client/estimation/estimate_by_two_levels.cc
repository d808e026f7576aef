#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/split_limit.h"
#include "core/errors.h"
#include "core/status_macros.h"

// Theory 1.4.3 (i): at the same weights C_k = (tau_k^2 H + rest)/n with the same rest, so
//   H = n (C_1 - C_0) / (tau_1^2 - tau_0^2)     for every law of the features and every distance from the optimum.
namespace gradoracle {
namespace {

// Entries of the diagonal below this are so uncertain that scaling by them would do harm.
constexpr double kSmallestDiagonal = 0.25;

// The lower level is the rule's, or the one given; the upper one the highest of the extra levels.
absl::StatusOr<NoiseChoice> UpperLevel(const NoiseInfo& noise, double lower) {
  const auto highest = std::max_element(noise.extra_variances.begin(), noise.extra_variances.end());
  if (highest != noise.extra_variances.end() && *highest > lower) return NoiseChoice{*highest, *highest};
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "EXTRA_NOISE_NOT_OFFERED", "estimator",
      absl::StrFormat("estimator is two_level, but this oracle offers no extra noise variance above %g; its "
                      "owner can start it with --extra-noise-variances, or try --estimator auto",
                      lower));
}

absl::Status CheckCounts(int64_t lower, int64_t upper, bool stopped) {
  if (lower >= 2 && upper >= 2) return absl::OkStatus();
  if (stopped) return Interrupted(Estimator::kTwoLevel);
  return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                   "count: two_level needs at least 4 gradients, 2 at each of 2 noise levels");
}

}  // namespace

absl::StatusOr<HessianEstimate> EstimateByTwoLevels(EstimationRun& run) {
  const EstimationOptions& options = run.options;
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseChoice lower,
                              ChooseNoise(run.info.noise, options.batch_size, options.total_noise_variance));
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseChoice upper, UpperLevel(run.info.noise, lower.total_noise_variance));
  const int64_t lower_count = run.requests.remaining() / 2;
  const int64_t upper_count = run.requests.remaining() - lower_count;
  GRADORACLE_RETURN_IF_ERROR(CheckCounts(lower_count, upper_count, false));

  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator below, MakeEstimator(run, lower.total_noise_variance, lower_count));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator above, MakeEstimator(run, upper.total_noise_variance, upper_count));
  GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, options.weights, lower_count, lower), below));
  GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, options.weights, upper_count, upper), above));
  GRADORACLE_RETURN_IF_ERROR(CheckCounts(below.count(), above.count(), run.requests.stopped()));

  const double scale =
      static_cast<double>(options.batch_size) / (upper.total_noise_variance - lower.total_noise_variance);
  UnfinishedEstimate unfinished;
  unfinished.hessian = above.covariance().Scatter() * (scale / static_cast<double>(above.count() - 1)) -
                       below.covariance().Scatter() * (scale / static_cast<double>(below.count() - 1));
  if (!unfinished.hessian.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: entries so large that their products overflow");
  }
  const SplitDifferences above_differences(above.covariance());
  const SplitDifferences below_differences(below.covariance());
  if (above_differences.available() && below_differences.available()) {
    unfinished.difference = [&](absl::BitGenRef generator, Eigen::MatrixXd& difference) {
      Eigen::MatrixXd second;
      above_differences.Draw(generator, difference);
      below_differences.Draw(generator, second);
      difference = scale * (difference - second);
    };
  }
  unfinished.count = std::min(above.count(), below.count());
  unfinished.kurtosis_share = std::min(above_differences.kurtosis_share(), below_differences.kurtosis_share());
  unfinished.unit_diagonal = run.impose_unit_diagonal();
  unfinished.smallest_diagonal = kSmallestDiagonal;

  HessianEstimate estimate;
  estimate.estimator = Estimator::kTwoLevel;
  estimate.dimension = run.info.dimension;
  estimate.batch_size = options.batch_size;
  estimate.total_noise_variance = upper.total_noise_variance;
  estimate.mean_gradient = below.covariance().Mean();
  estimate.weights = options.weights;
  FinishEstimate(std::move(unfinished), options.level, run.generator, estimate);
  return estimate;
}

}  // namespace gradoracle
