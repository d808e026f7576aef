#include "client/risk/adversarial_risk.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {

absl::string_view AttackNormName(AttackNorm norm) { return norm == AttackNorm::kL2 ? "l2" : "linf"; }

absl::StatusOr<AttackNorm> ParseAttackNorm(absl::string_view name) {
  if (name == "l2") return AttackNorm::kL2;
  if (name == "linf") return AttackNorm::kLinf;
  return InvalidField("ATTACK_NORM_UNKNOWN", "norm",
                      absl::StrCat("norm is `", name, "`, but must be l2 or linf, the norm that bounds the attack"));
}

double DualNorm(const Eigen::Ref<const Eigen::VectorXd>& weights, AttackNorm norm) {
  return norm == AttackNorm::kL2 ? weights.norm() : weights.lpNorm<1>();
}

Interval AdversarialRisk(const Interval& standard_risk, double radius, double dual_norm, double largest_kurtosis) {
  const double shift = radius * dual_norm;
  const auto risk = [&](double squared, double ratio) {
    const double deviation = std::sqrt(std::max(squared, 0.0));
    return deviation * deviation + 2 * shift * ratio * deviation + shift * shift;
  };
  constexpr double kGaussian = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;  // E|z|
  Interval result;
  result.value = risk(standard_risk.value, kGaussian);
  result.lower = risk(standard_risk.lower, std::min(kGaussian, 1 / std::sqrt(largest_kurtosis)));
  result.upper = risk(standard_risk.upper, 1);
  return result;
}

}  // namespace gradoracle
