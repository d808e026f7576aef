#include "core/noise_calibration.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr NoiseRule kNoiseRules[] = {NoiseRule::kCalibrated, NoiseRule::kScaled, NoiseRule::kFixed, NoiseRule::kNone};

// tau^2 of the rules that fix the total: n, or c n.
double RuleTotal(const NoisePolicy& policy, int64_t batch_size) {
  const double scale = policy.rule == NoiseRule::kScaled ? policy.scale : 1.0;
  return scale * static_cast<double>(batch_size);
}

// The data's own part of the total. One expression for every caller: rounding is monotone, so a batch size that
// SmallestBatchSize admits at the largest factor is never refused by InjectedVariance at a smaller one.
double DataVariance(double residual_variance, double variance_factor) { return variance_factor * residual_variance; }

}  // namespace

absl::string_view NoiseRuleName(NoiseRule rule) {
  switch (rule) {
    case NoiseRule::kCalibrated:
      return "calibrated";
    case NoiseRule::kScaled:
      return "scaled";
    case NoiseRule::kFixed:
      return "fixed";
    case NoiseRule::kNone:
      return "none";
  }
  return "unknown";
}

absl::StatusOr<NoiseRule> ParseNoiseRule(absl::string_view name) {
  for (const NoiseRule rule : kNoiseRules) {
    if (name == NoiseRuleName(rule)) return rule;
  }
  return InvalidField("NOISE_RULE_UNKNOWN", "noise_rule",
                      absl::StrCat("--noise-rule is \"", name, "\"; must be one of calibrated, scaled, fixed, none"));
}

absl::Status ValidateNoisePolicy(const NoisePolicy& policy) {
  if (policy.rule == NoiseRule::kScaled && !(std::isfinite(policy.scale) && policy.scale > 0)) {
    return InvalidField("NOISE_SCALE_INVALID", "noise_scale",
                        absl::StrFormat("--noise-scale is %.15g; must be finite and > 0", policy.scale));
  }
  if (policy.rule == NoiseRule::kFixed && !(std::isfinite(policy.variance) && policy.variance >= 0)) {
    return InvalidField("NOISE_VARIANCE_INVALID", "noise_variance",
                        absl::StrFormat("--noise-variance is %.15g; must be finite and >= 0", policy.variance));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> InjectedVarianceForTotal(double total_noise_variance, double residual_variance,
                                                double variance_factor) {
  const double data_variance = DataVariance(residual_variance, variance_factor);
  // Negated, so that a NaN is refused as well.
  if (!(data_variance <= total_noise_variance)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NOISE_RULE_IMPOSSIBLE", "total_noise_variance",
                     absl::StrFormat("total_noise_variance %.15g is smaller than the noise already in the targets; "
                                     "a larger total is needed",
                                     total_noise_variance));
  }
  return total_noise_variance - data_variance;
}

absl::StatusOr<double> InjectedVariance(const NoisePolicy& policy, int64_t batch_size, double residual_variance,
                                        double variance_factor) {
  if (policy.rule == NoiseRule::kNone) return 0.0;
  if (policy.rule == NoiseRule::kFixed) return policy.variance;
  absl::StatusOr<double> injected =
      InjectedVarianceForTotal(RuleTotal(policy, batch_size), residual_variance, variance_factor);
  if (injected.ok()) return injected;
  return MakeError(absl::StatusCode::kFailedPrecondition, "NOISE_RULE_IMPOSSIBLE", "batch_size",
                   absl::StrCat("batch_size ", batch_size, " is too small for the noise rule ",
                                NoiseRuleName(policy.rule), " of this oracle; must be at least limits.min_batch_size"));
}

int64_t SmallestBatchSize(const NoisePolicy& policy, double residual_variance,
                          absl::FunctionRef<double(int64_t batch_size)> variance_factor) {
  if (policy.rule == NoiseRule::kFixed || policy.rule == NoiseRule::kNone) return 1;
  // The very predicate of InjectedVarianceForTotal, monotone in n: bisection finds its boundary exactly, where
  // ceil(sigma^2 / c) could be off by one through the rounding of the quotient.
  const auto possible = [&](int64_t batch_size) {
    return DataVariance(residual_variance, variance_factor(batch_size)) <= RuleTotal(policy, batch_size);
  };
  int64_t low = 1;
  int64_t high = std::numeric_limits<int64_t>::max();
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (possible(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace gradoracle
