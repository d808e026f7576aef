#include "client/estimation/large_noise.h"

#include <algorithm>

namespace gradoracle {

std::optional<double> LargeNoise(const NoiseInfo& noise, int64_t batch_size) {
  const auto largest = std::max_element(noise.extra_variances.begin(), noise.extra_variances.end());
  if (largest == noise.extra_variances.end() || *largest < kLargeNoiseScale * static_cast<double>(batch_size)) {
    return std::nullopt;
  }
  return *largest;
}

}  // namespace gradoracle
