#include "core/accountant/rdp_accountant.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr int kSmallestOrder = 2;
constexpr int kLargestOrder = 512;

// ln(e^a + e^b).
double LogAdd(double a, double b) {
  const double larger = std::max(a, b);
  if (std::isinf(larger)) return larger;
  return larger + std::log1p(std::exp(std::min(a, b) - larger));
}

double LogBinomial(int n, int k) { return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0); }

}  // namespace

double RenyiDivergence(const SampledGaussian& mechanism, int order) {
  const double p = mechanism.sampling_rate;
  const double variance = mechanism.noise_multiplier * mechanism.noise_multiplier;
  if (p >= 1) return order / (2 * variance);
  double log_sum = -std::numeric_limits<double>::infinity();
  for (int k = 0; k <= order; ++k) {
    const double term = LogBinomial(order, k) + (order - k) * std::log1p(-p) + k * std::log(p) +
                        (static_cast<double>(k) * k - k) / (2 * variance);
    log_sum = LogAdd(log_sum, term);
  }
  return std::max(0.0, log_sum) / (order - 1);
}

absl::StatusOr<double> SampledGaussianEpsilon(const SampledGaussian& mechanism, int64_t steps, double delta) {
  const bool valid = mechanism.sampling_rate > 0 && mechanism.sampling_rate <= 1 && mechanism.noise_multiplier > 0 &&
                     std::isfinite(mechanism.noise_multiplier) && steps >= 0 && delta > 0 && delta < 1;
  if (!valid) {
    return InvalidField(
        "PRIVACY_PARAMETER", "delta",
        absl::StrFormat("sampling rate %g, noise multiplier %g, %d steps, delta %g: need 0 < rate <= 1, "
                        "multiplier > 0, steps >= 0, 0 < delta < 1",
                        mechanism.sampling_rate, mechanism.noise_multiplier, steps, delta));
  }
  if (steps == 0) return 0.0;
  double smallest = std::numeric_limits<double>::infinity();
  for (int order = kSmallestOrder; order <= kLargestOrder; ++order) {
    const double epsilon = static_cast<double>(steps) * RenyiDivergence(mechanism, order) + std::log1p(-1.0 / order) -
                           (std::log(delta) + std::log(order)) / (order - 1);
    smallest = std::min(smallest, epsilon);
  }
  return std::max(0.0, smallest);
}

std::vector<std::string> GradientPrivacyAssumptions() {
  return {"one row added or left out; the number of rows is public, and so are the units and the limits",
          "every gradient at the largest batch size; all callers together",
          "noise as real numbers: floating point and rounding are not analysed"};
}

}  // namespace gradoracle
