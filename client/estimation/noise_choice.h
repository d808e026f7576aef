#ifndef GRADORACLE_CLIENT_ESTIMATION_NOISE_CHOICE_H_
#define GRADORACLE_CLIENT_ESTIMATION_NOISE_CHOICE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
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
// TOTAL_NOISE_VARIANCE_CONTRADICTS.
absl::StatusOr<NoiseChoice> ChooseNoise(const NoiseInfo& noise, int64_t batch_size, std::optional<double> given);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_NOISE_CHOICE_H_
