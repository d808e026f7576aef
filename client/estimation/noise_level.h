#ifndef GRADORACLE_CLIENT_ESTIMATION_NOISE_LEVEL_H_
#define GRADORACLE_CLIENT_ESTIMATION_NOISE_LEVEL_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"

namespace gradoracle {

// The noise to ask an oracle for, and tau^2 of the gradients it then gives.
struct NoiseChoice {
  std::optional<double> requested;  // GradientQuery::total_noise_variance
  double total_noise_variance = 0;
};

// `given` is what the caller says tau^2 is or should be: one of the oracle's extra variances is asked for; otherwise it
// must agree with the rule (calibrated, scaled), or stands for what the oracle does not tell (fixed, none).
// Errors: kInvalidArgument, field total_noise_variance: MISSING (the rule does not tell it),
// TOTAL_NOISE_VARIANCE_CONTRADICTS; kFailedPrecondition ISOTROPIC_NOISE: the covariance of this oracle's replies is not
// the Hessian, whatever tau^2.
absl::StatusOr<NoiseChoice> ChooseNoise(const NoiseInfo& noise, int64_t batch_size, std::optional<double> given);

// From this multiple of n on, an extra noise variance does what the curvature probe does: at w = 0 or q = 4n alike the
// residuals' part of the covariance is at most a percent or so of what it is at tau^2 = n.
inline constexpr double kLargeNoiseScale = 100;

// The largest of the oracle's extra variances, if it is at least kLargeNoiseScale * n.
std::optional<double> LargeNoise(const NoiseInfo& noise, int64_t batch_size);

// One of the noise levels an oracle offers at a batch size: what to ask for, and what is known of it.
struct NoiseLevel {
  std::optional<double> requested;  // GradientQuery.total_noise_variance; unset: the oracle's rule
  bool curvature_probe = false;
  std::optional<double> total;  // tau^2 of the answer; unset where the rule is fixed or none. The probe: n
};

// The smallest noise allowed, for gradients whose mean matters: the least of noise.extra and the rule's tau^2. A rule
// `none` is below every extra level, a rule `fixed` with injected variance v below the extra levels above v.
NoiseLevel SmallestNoiseLevel(const OracleInfo& info, int64_t batch_size);

// The level for gradients whose covariance matters, Cov = (tau^2/n) H: the probe where offered (exact at any weights,
// theory 1.4.7), else the level that is `given` if the oracle offers it beside its rule, else the largest known tau^2.
// `given` is otherwise the caller's word for the tau^2 of a rule fixed or none. Errors: those of ChooseNoise for what
// is given; kInvalidArgument TOTAL_NOISE_VARIANCE_UNKNOWN where no tau^2 is known and the scale of H is not either (H
// of a standardised oracle has unit diagonal, which makes tau^2 needless); kFailedPrecondition ISOTROPIC_NOISE.
absl::StatusOr<NoiseLevel> CurvatureNoiseLevel(const OracleInfo& info, int64_t batch_size, std::optional<double> given);

// Sets the fields of `query` that choose the level.
void ApplyNoiseLevel(const NoiseLevel& level, GradientQuery& query);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_NOISE_LEVEL_H_
