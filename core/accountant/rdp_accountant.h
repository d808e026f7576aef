#ifndef GRADORACLE_CORE_ACCOUNTANT_RDP_ACCOUNTANT_H_
#define GRADORACLE_CORE_ACCOUNTANT_RDP_ACCOUNTANT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

// Feature and label privacy of clipped gradients with Gaussian noise and Poisson sampling (theory 6b): neighbours
// differ by one row added or left out; N itself is public. Holds for adaptive queries, and for real-valued noise:
// replies are computed in floating point and rounded to a grid, which no analysis here covers.
namespace gradoracle {

// The sum over a Poisson sample of contributions of norm at most c, plus N(0, s^2 c^2 I).
struct SampledGaussian {
  double sampling_rate = 1;     // p, 0 < p <= 1
  double noise_multiplier = 1;  // s > 0, finite
};

// Renyi divergence bound of one query at an integer order alpha >= 2 (Mironov, Talwar, Zhang 2019):
//   ln( sum_k binom(alpha, k) (1-p)^(alpha-k) p^k exp((k^2 - k) / (2 s^2)) ) / (alpha - 1);  p = 1: alpha / (2 s^2).
// Summed in log space: no overflow at any order.
double RenyiDivergence(const SampledGaussian& mechanism, int order);

// epsilon at `delta` after `steps` queries: min over alpha = 2 ... 512 of
//   T eps(alpha) + ln(1 - 1/alpha) - (ln delta + ln alpha) / (alpha - 1)        (Canonne, Kamath, Steinke 2020), >= 0.
// Errors: kInvalidArgument PRIVACY_PARAMETER: steps < 0, delta not in (0, 1), rate or multiplier out of range.
absl::StatusOr<double> SampledGaussianEpsilon(const SampledGaussian& mechanism, int64_t steps, double delta);

// What such an epsilon of an oracle assumes, in sentences; the sampling rate is that of the largest batches.
std::vector<std::string> GradientPrivacyAssumptions();

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ACCOUNTANT_RDP_ACCOUNTANT_H_
