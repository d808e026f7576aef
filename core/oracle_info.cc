#include "core/oracle_info.h"

namespace gradoracle {

bool HasUnitDiagonal(const std::string& scaling) { return scaling == "standardised"; }

std::optional<double> KnownTotalNoiseVariance(const NoiseInfo& noise, int64_t batch_size) {
  if (noise.isotropic) return std::nullopt;
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
