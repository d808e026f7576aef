#include "core/oracle_info.h"

namespace gradoracle {

std::optional<double> KnownTotalNoiseVariance(const NoiseInfo& noise, int64_t batch_size) {
  switch (noise.rule) {
    case NoiseRule::kCalibrated:
      return static_cast<double>(batch_size);
    case NoiseRule::kScaled:
      if (!noise.scale.has_value()) return std::nullopt;
      return *noise.scale * static_cast<double>(batch_size);
    case NoiseRule::kFixed:
    case NoiseRule::kNone:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace gradoracle
