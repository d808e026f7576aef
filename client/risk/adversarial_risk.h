#ifndef GRADORACLE_CLIENT_RISK_ADVERSARIAL_RISK_H_
#define GRADORACLE_CLIENT_RISK_ADVERSARIAL_RISK_H_

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The adversarial risk of a linear model, from its standard risk: arithmetic, no oracle.
namespace gradoracle {

// The norm that bounds the attack on a row's features, in served units.
enum class AttackNorm { kL2, kLinf };

absl::string_view AttackNormName(AttackNorm norm);                   // "l2", "linf"
absl::StatusOr<AttackNorm> ParseAttackNorm(absl::string_view name);  // kInvalidArgument ATTACK_NORM_UNKNOWN
double DualNorm(const Eigen::Ref<const Eigen::VectorXd>& weights, AttackNorm norm);  // ||w||_2, or ||w||_1 for linf

// A value with an interval that holds it at some confidence: lower <= value <= upper.
struct Interval {
  double value = 0;
  double lower = 0;
  double upper = 0;
};

// mean over rows of max_{||delta|| <= radius} (y - (x + delta)'w)^2 = mean (|r| + a)^2 = s^2 + 2 a E|r| + a^2,
// a = radius * dual_norm, s^2 = mean r^2 the standard risk, without 1/2 [theory 5.1].
//
// E|r| is not in the gradients. value: that of Gaussian residuals, s sqrt(2/pi), an upper bound for every Gaussian
// scale mixture. The interval covers this formula's own error besides that of s^2: E|r| <= s always (Jensen), and E|r|
// >= s/sqrt(kurtosis) (Hoelder), kurtosis = E r^4/s^4, of which the caller gives a bound >= 1. Residuals of real data
// have been met with kurtosis up to 47.
Interval AdversarialRisk(const Interval& standard_risk, double radius, double dual_norm, double largest_kurtosis);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_RISK_ADVERSARIAL_RISK_H_
