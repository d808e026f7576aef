#include "client/estimation/estimation_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/shrink_estimate.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

absl::Status AddTo(const EstimationRun& run, const Eigen::Ref<const RowMajorMatrix>& block,
                   HessianEstimator& estimator) {
  GRADORACLE_RETURN_IF_ERROR(estimator.Add(block));
  return run.fourth_moment != nullptr ? run.fourth_moment->Add(block) : absl::OkStatus();
}

}  // namespace

GradientQuery QueryAt(const EstimationRun& run, const Eigen::VectorXd& weights, int64_t count,
                      const NoiseChoice& noise) {
  GradientQuery query;
  query.weights = weights;
  query.batch_size = run.options.batch_size;
  query.count = count;
  query.total_noise_variance = noise.requested;
  return query;
}

absl::StatusOr<HessianEstimator> MakeEstimator(const EstimationRun& run, double total_noise_variance, int64_t count) {
  HessianEstimator::Options options;
  options.batch_size = run.options.batch_size;
  options.total_noise_variance = total_noise_variance;
  options.expected_count = std::max<int64_t>(count, 0);
  options.unit_diagonal_known = run.unit_diagonal_known();
  options.impose_unit_diagonal = run.impose_unit_diagonal();
  return HessianEstimator::Create(run.info.dimension, options);
}

absl::Status Gather(const EstimationRun& run, const GradientQuery& query, HessianEstimator& estimator) {
  return run.requests.Send(query,
                           [&](const Eigen::Ref<const RowMajorMatrix>& block) { return AddTo(run, block, estimator); });
}

absl::Status GatherTrimmed(const EstimationRun& run, const GradientQuery& query, GradientTrimmer& trimmer,
                           HessianEstimator& estimator) {
  const auto keep = [&](const Eigen::Ref<const RowMajorMatrix>& block) { return AddTo(run, block, estimator); };
  GRADORACLE_RETURN_IF_ERROR(run.requests.Send(
      query, [&](const Eigen::Ref<const RowMajorMatrix>& block) { return trimmer.Add(block, keep); }));
  return trimmer.Finish(keep);
}

absl::StatusOr<HessianEstimate> CovarianceEstimate(const EstimationRun& run, const HessianEstimator& estimator,
                                                   const Eigen::VectorXd& weights, Estimator used) {
  if (estimator.count() < 2 && run.requests.stopped()) return Interrupted(used);
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate estimate, estimator.Estimate(run.generator, run.options.level));
  if (run.unit_diagonal_known() && used != Estimator::kProbe) {
    FindExcessDiagonal(run.info.feature_names, estimator.count(), estimate);
  }
  GRADORACLE_RETURN_IF_ERROR(
      ShrinkEstimate(run.options.shrinkage, estimator.covariance(), run.fourth_moment, estimate));
  estimate.estimator = used;
  estimate.weights = weights;
  return estimate;
}

absl::Status Interrupted(Estimator estimator) {
  return MakeError(
      absl::StatusCode::kCancelled, "INTERRUPTED", "",
      absl::StrCat("interrupted before enough gradients for `", EstimatorName(estimator), "` had arrived"));
}

}  // namespace gradoracle
