#include "client/estimation/estimation_run.h"
#include "core/status_macros.h"

namespace gradoracle {

absl::StatusOr<HessianEstimate> EstimateByCovariance(EstimationRun& run) {
  const EstimationOptions& options = run.options;
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseChoice noise,
                              ChooseNoise(run.info.noise, options.batch_size, options.total_noise_variance));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator,
                              MakeEstimator(run, noise.total_noise_variance, options.count));
  GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, options.weights, options.count, noise), estimator));
  return CovarianceEstimate(run, estimator, options.weights, Estimator::kCovariance);
}

}  // namespace gradoracle
