#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/noise_level.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {

// Theory 1.4.7: Cov(g) = H exactly, at every w, for every law of the features. A huge extra noise level stands in for
// it: the residuals' part is then divided by it.
absl::StatusOr<HessianEstimate> EstimateByProbe(EstimationRun& run) {
  const EstimationOptions& options = run.options;
  const double n = static_cast<double>(options.batch_size);
  NoiseChoice noise{std::nullopt, n};
  std::string reason;
  if (!run.info.noise.curvature_probe) {
    const std::optional<double> large = LargeNoise(run.info.noise, options.batch_size);
    if (!large.has_value()) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "CURVATURE_PROBE_NOT_OFFERED", "estimator",
                       absl::StrFormat("estimator is probe, but this oracle offers neither the curvature probe nor an "
                                       "extra noise variance of at least %g times the batch size; its owner can start "
                                       "it with --curvature-probe, or try --estimator auto",
                                       kLargeNoiseScale));
    }
    noise = {large, *large};
    reason =
        absl::StrFormat("no curvature probe is offered; noise of variance %g drowns the residuals as well", *large);
  }
  const int64_t count = run.requests.remaining();
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator, MakeEstimator(run, noise.total_noise_variance, count));
  // Weights play no part in a probe; with large noise zeros are near enough, where the units are standardised.
  const bool probe = !noise.requested.has_value();
  const Eigen::VectorXd zeros = Eigen::VectorXd::Zero(run.info.dimension);
  GradientQuery query = QueryAt(run, probe || run.unit_diagonal_known() ? zeros : options.weights, count, noise);
  query.curvature_probe = probe;
  GRADORACLE_RETURN_IF_ERROR(Gather(run, query, estimator));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate estimate,
                              CovarianceEstimate(run, estimator, query.weights, Estimator::kProbe));
  if (probe) {  // no residuals, so no bias to be warned of
    estimate.weights.resize(0);
    estimate.bias_warning.reset();
    estimate.kappa.reset();
  }
  estimate.reason = reason;
  return estimate;
}

}  // namespace gradoracle
