#ifndef GRADORACLE_CLIENT_ESTIMATION_LARGE_NOISE_H_
#define GRADORACLE_CLIENT_ESTIMATION_LARGE_NOISE_H_

#include <cstdint>
#include <optional>

#include "core/oracle_info.h"

namespace gradoracle {

// From this multiple of n on, an extra noise variance does what the curvature probe does: at w = 0 or q = 4n alike the
// residuals' part of the covariance is at most a percent or so of what it is at tau^2 = n.
inline constexpr double kLargeNoiseScale = 100;

// The largest of the oracle's extra variances, if it is at least kLargeNoiseScale * n.
std::optional<double> LargeNoise(const NoiseInfo& noise, int64_t batch_size);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_LARGE_NOISE_H_
