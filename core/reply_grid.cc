#include "core/reply_grid.h"

#include <algorithm>
#include <cmath>

namespace gradoracle {
namespace {

constexpr double kFraction = 1e-6;  // of a standard deviation

// tau^2/n of the rule at its smallest; all but calibrated and scaled shrink as n grows.
double RuleNoise(const NoisePolicy& policy, double residuals, double batch_size) {
  switch (policy.rule) {
    case NoiseRule::kCalibrated:
      return 1;
    case NoiseRule::kScaled:
      return policy.scale;
    case NoiseRule::kFixed:
      return (residuals + policy.variance) / batch_size;
    case NoiseRule::kNone:
      return residuals / batch_size;
  }
  return 0;
}

}  // namespace

double SmallestRelativeNoise(const ReplyNoise& noise, int64_t row_count) {
  const auto n = static_cast<double>(noise.max_batch_size);
  const auto rows = static_cast<double>(row_count);
  const double factor = noise.sampling == Sampling::kIid || row_count == 1 ? 1 : (rows - n) / (rows - 1);
  double smallest = RuleNoise(noise.policy, factor * noise.residual_variance, n);
  for (const double variance : noise.extra_variances) smallest = std::min(smallest, variance / n);
  return smallest;
}

double ReplyGrid(const RegressionData& data, const ReplyNoise& noise) {
  double smallest_diagonal = HUGE_VAL;
  for (Eigen::Index j = 0; j < data.features.cols(); ++j) {
    const double diagonal = data.features.col(j).squaredNorm() / static_cast<double>(data.row_count());
    if (diagonal > 0) smallest_diagonal = std::min(smallest_diagonal, diagonal);
  }
  if (!std::isfinite(smallest_diagonal)) return 0;  // every feature is zero
  const double deviation =
      std::sqrt(SmallestRelativeNoise(noise, data.row_count()) * smallest_diagonal + noise.isotropic_variance);
  if (!std::isnormal(kFraction * deviation)) return 0;
  return std::exp2(std::floor(std::log2(kFraction * deviation)));
}

}  // namespace gradoracle
