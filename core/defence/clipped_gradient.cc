#include "core/defence/clipped_gradient.h"

#include <cmath>

namespace gradoracle {

void ClippedGradientSum(const RegressionData& data, const Eigen::Ref<const Eigen::VectorXd>& weights,
                        absl::Span<const uint32_t> rows, double clip_norm, Eigen::Ref<Eigen::RowVectorXd> out) {
  out.setZero();
  for (const uint32_t row : rows) {
    const auto features = data.features.row(row);
    const double residual = features.dot(weights) - data.targets(row);
    // ||g_i|| = ||x_i|| |r_i|: the gradient itself is never formed. A norm that overflows clips to zero, not to NaN.
    const double norm = features.norm() * std::abs(residual);
    if (!std::isfinite(norm)) continue;
    out += (norm > clip_norm ? residual * (clip_norm / norm) : residual) * features;
  }
}

}  // namespace gradoracle
