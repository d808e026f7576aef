#include "client/estimation/noise_level.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Rescaled to a unit diagonal such a covariance would look like a Hessian, and be wrong.
absl::Status CheckTargetNoise(const NoiseInfo& noise) {
  if (!noise.isotropic) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "ISOTROPIC_NOISE", "noise",
                   "noise: this oracle adds isotropic noise to its gradients in place of target noise, so their "
                   "covariance is not the Hessian; estimate from slopes of mean gradients with --estimator active, or "
                   "train with --method sgd and a step size");
}

}  // namespace

absl::StatusOr<NoiseChoice> ChooseNoise(const NoiseInfo& noise, int64_t batch_size, std::optional<double> given) {
  GRADORACLE_RETURN_IF_ERROR(CheckTargetNoise(noise));
  const std::vector<double>& extra = noise.extra_variances;
  if (given.has_value() && std::find(extra.begin(), extra.end(), *given) != extra.end()) {
    return NoiseChoice{given, *given};
  }
  const std::optional<double> known = KnownTotalNoiseVariance(noise, batch_size);
  const std::string rule(NoiseRuleName(noise.rule));
  if (!known.has_value()) {
    if (given.has_value()) return NoiseChoice{std::nullopt, *given};
    return InvalidField("MISSING", "total_noise_variance",
                        absl::StrCat("total_noise_variance is missing: at its rule `", rule,
                                     "` the oracle does not tell the residual's share; give --total-noise-variance V"));
  }
  if (!given.has_value() || *given == *known) return NoiseChoice{std::nullopt, *known};
  return InvalidField(
      "TOTAL_NOISE_VARIANCE_CONTRADICTS", "total_noise_variance",
      absl::StrCat("total_noise_variance is ", *given, ", but the oracle's rule `", rule, "` makes it ", *known,
                   extra.empty() ? "" : absl::StrCat(", and on request ", absl::StrJoin(extra, ", "))));
}

std::optional<double> LargeNoise(const NoiseInfo& noise, int64_t batch_size) {
  const auto largest = std::max_element(noise.extra_variances.begin(), noise.extra_variances.end());
  if (largest == noise.extra_variances.end() || *largest < kLargeNoiseScale * static_cast<double>(batch_size)) {
    return std::nullopt;
  }
  return *largest;
}

NoiseLevel SmallestNoiseLevel(const OracleInfo& info, int64_t batch_size) {
  NoiseLevel level;
  level.total = KnownTotalNoiseVariance(info.noise, batch_size);
  if (info.noise.rule == NoiseRule::kNone || info.noise.extra_variances.empty()) return level;
  const double extra = *std::min_element(info.noise.extra_variances.begin(), info.noise.extra_variances.end());
  const double rule = level.total.has_value() ? *level.total : info.noise.injected_variance.value_or(0);
  if (extra < rule) {
    level.requested = extra;
    level.total = extra;
  }
  return level;
}

absl::StatusOr<NoiseLevel> CurvatureNoiseLevel(const OracleInfo& info, int64_t batch_size,
                                               std::optional<double> given) {
  GRADORACLE_RETURN_IF_ERROR(CheckTargetNoise(info.noise));
  NoiseLevel level;
  NoiseChoice choice;
  if (given.has_value()) {
    GRADORACLE_ASSIGN_OR_RETURN(choice, ChooseNoise(info.noise, batch_size, given));
  }
  if (info.noise.curvature_probe) {
    level.curvature_probe = true;
    level.total = static_cast<double>(batch_size);
    return level;
  }
  if (choice.requested.has_value()) {
    level.requested = choice.requested;
    level.total = choice.total_noise_variance;
    return level;
  }
  level.total = KnownTotalNoiseVariance(info.noise, batch_size);
  if (!level.total.has_value()) level.total = given;
  if (!info.noise.extra_variances.empty()) {
    const double extra = *std::max_element(info.noise.extra_variances.begin(), info.noise.extra_variances.end());
    const double rule = level.total.value_or(info.noise.injected_variance.value_or(0));
    if (extra > rule) {
      level.requested = extra;
      level.total = extra;
    }
  }
  if (!level.total.has_value() && !HasUnitDiagonal(info)) {
    return InvalidField("TOTAL_NOISE_VARIANCE_UNKNOWN", "total_noise_variance",
                        absl::StrCat("total_noise_variance: this oracle's noise rule `", NoiseRuleName(info.noise.rule),
                                     "` does not tell it, and without it the scale of the curvature is unknown; give "
                                     "--total-noise-variance, use --method sgd with a step size, or ask the owner for "
                                     "--curvature-probe or --extra-noise-variances"));
  }
  return level;
}

void ApplyNoiseLevel(const NoiseLevel& level, GradientQuery& query) {
  query.total_noise_variance = level.requested;
  query.curvature_probe = level.curvature_probe;
}

}  // namespace gradoracle
