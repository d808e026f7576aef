#ifndef GRADORACLE_CLIENT_OPTIMISE_NOISE_LEVEL_H_
#define GRADORACLE_CLIENT_OPTIMISE_NOISE_LEVEL_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"

namespace gradoracle {

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
// theory 1.4.7), else the largest known tau^2. `assumed` is the caller's word for the tau^2 of a rule fixed or none.
// Errors: kInvalidArgument TOTAL_NOISE_VARIANCE_UNKNOWN where no tau^2 is known and the scale of H is not either (H of
// a standardised oracle has unit diagonal, which makes tau^2 needless).
absl::StatusOr<NoiseLevel> CurvatureNoiseLevel(const OracleInfo& info, int64_t batch_size,
                                               std::optional<double> assumed);

// diag H = 1 exactly: features standardised by the oracle itself.
bool HasUnitDiagonal(const OracleInfo& info);

// Sets the fields of `query` that choose the level.
void ApplyNoiseLevel(const NoiseLevel& level, GradientQuery& query);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_OPTIMISE_NOISE_LEVEL_H_
