#include "core/defence/defence_policy.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

absl::Status Refused(absl::string_view field, absl::string_view message) {
  return InvalidField("DEFENCE_INVALID", field, message);
}

absl::Status CheckPositive(const std::optional<double>& value, absl::string_view field, absl::string_view flag) {
  if (!value.has_value() || (std::isfinite(*value) && *value > 0)) return absl::OkStatus();
  return Refused(field, absl::StrFormat("%s is %.15g; must be finite and > 0", flag, *value));
}

absl::Status CheckValues(const DefencePolicy& policy) {
  GRADORACLE_RETURN_IF_ERROR(CheckPositive(policy.clip_norm, "clip_norm", "--clip-norm"));
  GRADORACLE_RETURN_IF_ERROR(
      CheckPositive(policy.gradient_noise_multiplier, "gradient_noise_multiplier", "--gradient-noise-multiplier"));
  GRADORACLE_RETURN_IF_ERROR(CheckPositive(policy.mask_variance, "mask_variance", "--mask-variance"));
  GRADORACLE_RETURN_IF_ERROR(CheckPositive(policy.weights_grid, "weights_grid", "--weights-grid"));
  GRADORACLE_RETURN_IF_ERROR(CheckPositive(policy.reply_grid, "reply_grid", "--reply-grid"));
  // Far enough from what doubles hold that the variance for any batch size is neither 0 nor infinite.
  constexpr double kLeast = 1e-140, kMost = 1e140;
  const double deviation = policy.clip_norm.value_or(1) * policy.gradient_noise_multiplier.value_or(1);
  if (!(deviation >= kLeast && deviation <= kMost)) {
    return Refused("clip_norm", absl::StrFormat("--clip-norm times --gradient-noise-multiplier is %.15g; must be from "
                                                "%g to %g",
                                                deviation, kLeast, kMost));
  }
  if (policy.max_participation.has_value() && *policy.max_participation < 1) {
    return Refused("max_participation",
                   absl::StrCat("--max-participation is ", *policy.max_participation, "; must be at least 1"));
  }
  int exponent = 0;
  if (policy.reply_grid.has_value() && std::frexp(*policy.reply_grid, &exponent) != 0.5) {
    return Refused("reply_grid", absl::StrFormat("--reply-grid is %.15g; must be a power of two, such as %.15g",
                                                 *policy.reply_grid, std::ldexp(1.0, exponent)));
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const DefencePolicy& policy, Sampling sampling) {
  const bool clips = policy.clip_norm.has_value();
  if (clips != policy.gradient_noise_multiplier.has_value()) {
    return Refused(clips ? "gradient_noise_multiplier" : "clip_norm",
                   "--clip-norm and --gradient-noise-multiplier go together; give both or neither");
  }
  if (clips && sampling != Sampling::kPoisson) {
    return Refused("sampling", absl::StrCat("--clip-norm needs --sampling poisson, but it is ", SamplingName(sampling),
                                            ": no epsilon is known for the noise under another sampling"));
  }
  if (!clips && sampling == Sampling::kPoisson) {
    return Refused("sampling",
                   "--sampling poisson needs --clip-norm and --gradient-noise-multiplier: batches of random size "
                   "without them only tell their size");
  }
  if (policy.max_participation.has_value() && sampling != Sampling::kShuffledEpochs) {
    return Refused("max_participation",
                   absl::StrCat("--max-participation needs --sampling shuffled_epochs, but it is ",
                                SamplingName(sampling), ": only there how often a row is used is known beforehand"));
  }
  if (policy.weights_grid.has_value() && sampling == Sampling::kShuffledEpochs) {
    return Refused("weights_grid",
                   "--weights-grid cannot be combined with --sampling shuffled_epochs, whose noise depends on the "
                   "count: two counts would share batches; use iid or without_replacement");
  }
  return absl::OkStatus();
}

}  // namespace

double IsotropicNoiseVariance(const DefencePolicy& policy, int64_t batch_size) {
  if (policy.mask_variance.has_value()) return *policy.mask_variance;
  if (!policy.clip_norm.has_value()) return 0;
  const double deviation =
      policy.gradient_noise_multiplier.value_or(0) * *policy.clip_norm / static_cast<double>(batch_size);
  return deviation * deviation;
}

absl::Status ValidateDefences(const DefencePolicy& policy, Sampling sampling, const NoisePolicy& noise,
                              bool chooses_noise) {
  GRADORACLE_RETURN_IF_ERROR(CheckValues(policy));
  GRADORACLE_RETURN_IF_ERROR(CheckSampling(policy, sampling));
  if (!HasIsotropicNoise(policy)) return absl::OkStatus();
  const std::string flag = policy.clip_norm.has_value() ? "--clip-norm" : "--mask-variance";
  if (policy.clip_norm.has_value() && policy.mask_variance.has_value()) {
    return Refused("mask_variance",
                   "--mask-variance cannot be combined with --clip-norm, whose noise is isotropic already");
  }
  if (noise.rule == NoiseRule::kScaled || noise.rule == NoiseRule::kFixed) {
    return Refused("noise_rule", absl::StrCat("--noise-rule ", NoiseRuleName(noise.rule), " cannot be combined with ",
                                              flag, ", which replaces target noise; leave the rule out"));
  }
  if (chooses_noise) {
    return Refused("extra_noise_variances",
                   absl::StrCat("--extra-noise-variances and --curvature-probe cannot be combined with ", flag,
                                ", which replaces target noise"));
  }
  return absl::OkStatus();
}

NoisePolicy NoiseUnder(const DefencePolicy& policy, const NoisePolicy& noise) {
  if (!HasIsotropicNoise(policy)) return noise;
  NoisePolicy none;
  none.rule = NoiseRule::kNone;
  return none;
}

}  // namespace gradoracle
