// Uses gradoracle::risk: the adversarial risk of Gaussian residuals has a closed form.
#include <gradoracle/client/risk/adversarial_risk.h>

#include <cmath>
#include <iostream>

int main() {
  const Eigen::Vector2d weights(3, 4);
  const double dual = gradoracle::DualNorm(weights, gradoracle::AttackNorm::kL2);
  const gradoracle::Interval risk =
      gradoracle::AdversarialRisk({4, 4, 4}, /*radius=*/0.1, dual, /*largest_kurtosis=*/3);
  const double expected = 4 + 2 * 0.5 * 2 * std::sqrt(2 / M_PI) + 0.25;
  std::cout << "adversarial risk " << risk.value << ", closed form " << expected << "\n";
  return dual == 5 && std::abs(risk.value - expected) < 1e-12 && risk.lower < expected && expected < risk.upper ? 0 : 1;
}
