#include "client/optimise/noise_level.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {

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
                                               std::optional<double> assumed) {
  NoiseLevel level;
  if (info.noise.curvature_probe) {
    level.curvature_probe = true;
    level.total = static_cast<double>(batch_size);
    return level;
  }
  level.total = KnownTotalNoiseVariance(info.noise, batch_size);
  if (!level.total.has_value()) level.total = assumed;
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

bool HasUnitDiagonal(const OracleInfo& info) { return info.scaling == "standardised"; }

void ApplyNoiseLevel(const NoiseLevel& level, GradientQuery& query) {
  query.total_noise_variance = level.requested;
  query.curvature_probe = level.curvature_probe;
}

}  // namespace gradoracle
