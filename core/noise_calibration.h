#ifndef GRADORACLE_CORE_NOISE_CALIBRATION_H_
#define GRADORACLE_CORE_NOISE_CALIBRATION_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// How much target noise to inject. Total noise variance tau^2 = f sigma^2 + injected, with f the sampling's variance
// factor (core/sampling.h; 1 for iid): then Cov(g) = (tau^2/n) H at the optimum, and tau^2 = n makes it H
// [theory 1.1, 1.4.5].
namespace gradoracle {

enum class NoiseRule {
  kCalibrated,  // tau^2 = n
  kScaled,      // tau^2 = c n, c > 0
  kFixed,       // injected = v >= 0
  kNone,        // injected = 0
};

absl::string_view NoiseRuleName(NoiseRule rule);                   // "calibrated", "scaled", "fixed", "none"
absl::StatusOr<NoiseRule> ParseNoiseRule(absl::string_view name);  // kInvalidArgument listing the names

struct NoisePolicy {
  NoiseRule rule = NoiseRule::kCalibrated;
  double scale = 1;     // c, used by kScaled only: finite, > 0
  double variance = 0;  // v, used by kFixed only: finite, >= 0
};

// kInvalidArgument naming noise_scale or noise_variance and its value.
absl::Status ValidateNoisePolicy(const NoisePolicy& policy);

// Variance to inject so that the total is `total_noise_variance`: total - factor * sigma^2.
// Errors: kFailedPrecondition NOISE_RULE_IMPOSSIBLE when that is negative: refused, never clamped to zero. The message
// holds no number computed from the data.
absl::StatusOr<double> InjectedVarianceForTotal(double total_noise_variance, double residual_variance,
                                                double variance_factor);

// The same for a rule at batch size n >= 1.
absl::StatusOr<double> InjectedVariance(const NoisePolicy& policy, int64_t batch_size, double residual_variance,
                                        double variance_factor);

// Smallest n >= 1 from which on the rule is possible: the least n with n >= f(n) sigma^2 (calibrated), c n >= f(n)
// sigma^2 (scaled); 1 for fixed and none. variance_factor: f, defined for every n, never increasing. Saturates at
// INT64_MAX.
int64_t SmallestBatchSize(const NoisePolicy& policy, double residual_variance,
                          absl::FunctionRef<double(int64_t batch_size)> variance_factor);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_NOISE_CALIBRATION_H_
