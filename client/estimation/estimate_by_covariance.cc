#include "client/estimation/estimation_run.h"
#include "client/estimation/factored_hessian.h"
#include "client/estimation/gradient_trimmer.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Without a (d, d) matrix.
absl::StatusOr<HessianEstimate> EstimateFactor(EstimationRun& run, const NoiseChoice& noise) {
  FactoredHessianEstimator::Options options;
  options.form = run.options.form;
  options.batch_size = run.options.batch_size;
  options.total_noise_variance = noise.total_noise_variance;
  options.expected_count = run.options.count;
  options.sketch_rows = run.options.sketch_rows;
  GRADORACLE_ASSIGN_OR_RETURN(FactoredHessianEstimator estimator,
                              FactoredHessianEstimator::Create(run.info.dimension, options));
  GRADORACLE_RETURN_IF_ERROR(
      run.requests.Send(QueryAt(run, run.options.weights, run.options.count, noise),
                        [&](const Eigen::Ref<const RowMajorMatrix>& block) { return estimator.Add(block); }));
  if (estimator.count() < 2 && run.requests.stopped()) return Interrupted(Estimator::kCovariance);
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate estimate, estimator.TakeEstimate(run.generator, run.options.level));
  estimate.estimator = Estimator::kCovariance;
  estimate.weights = run.options.weights;
  return estimate;
}

// With the farthest gradients left out. What that takes away from the covariance of Gaussian gradients is given back.
absl::StatusOr<HessianEstimate> EstimateTrimmed(EstimationRun& run, const NoiseChoice& noise) {
  const EstimationOptions& options = run.options;
  GradientTrimmer::Options trimming;
  trimming.fraction = options.trim;
  trimming.batch_size = options.batch_size;
  trimming.expected_count = options.count;
  GRADORACLE_ASSIGN_OR_RETURN(GradientTrimmer trimmer, GradientTrimmer::Create(run.info.dimension, trimming));
  const double correction = TrimmingCorrection(run.info.dimension, options.trim);
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator,
                              MakeEstimator(run, noise.total_noise_variance / correction, options.count));
  GRADORACLE_RETURN_IF_ERROR(
      GatherTrimmed(run, QueryAt(run, options.weights, options.count, noise), trimmer, estimator));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate estimate,
                              CovarianceEstimate(run, estimator, options.weights, Estimator::kCovariance));
  estimate.total_noise_variance = noise.total_noise_variance;
  estimate.trimmed = trimmer.dropped();
  if (!estimate.unit_diagonal && !estimate.bias_warning.has_value()) {
    estimate.bias_warning =
        "gradients were left out: where features have heavy tails that scales honest directions down, which the error "
        "limit does not cover; compare with the estimate without --trim";
  }
  return estimate;
}

}  // namespace

absl::StatusOr<HessianEstimate> EstimateByCovariance(EstimationRun& run) {
  const EstimationOptions& options = run.options;
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseChoice noise,
                              ChooseNoise(run.info.noise, options.batch_size, options.total_noise_variance));
  if (options.form != HessianForm::kDense) return EstimateFactor(run, noise);
  if (options.trim != 0) return EstimateTrimmed(run, noise);
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator,
                              MakeEstimator(run, noise.total_noise_variance, options.count));
  GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, options.weights, options.count, noise), estimator));
  return CovarianceEstimate(run, estimator, options.weights, Estimator::kCovariance);
}

}  // namespace gradoracle
