// Uses gradoracle::core alone: the target variance of the paper's rule, and the refusal when it is impossible.
#include <gradoracle/core/noise_calibration.h>

#include <cmath>
#include <iostream>

int main() {
  const gradoracle::NoisePolicy policy;  // calibrated: tau^2 = n
  const auto injected = gradoracle::InjectedVariance(policy, /*batch_size=*/256, /*residual_variance=*/0.5,
                                                     /*variance_factor=*/1);
  const auto refused = gradoracle::InjectedVariance(policy, /*batch_size=*/2, /*residual_variance=*/3.0,
                                                    /*variance_factor=*/1);
  if (!injected.ok() || std::abs(*injected - 255.5) > 1e-12 || refused.ok()) {
    std::cerr << "injected: " << injected.status() << ", refused: " << refused.status() << "\n";
    return 1;
  }
  std::cout << "injected variance " << *injected << "\n";
  return 0;
}
