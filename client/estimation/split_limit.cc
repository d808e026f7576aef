#include "client/estimation/split_limit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/random/uniform_int_distribution.h"
#include "boost/math/distributions/normal.hpp"
#include "core/error_norm.h"

namespace gradoracle {
namespace {

constexpr int kGroups = ScatterGroups::kGroups;
constexpr int kFewestSlots = 8;
constexpr double kDeviations = 1.5;

}  // namespace

SplitDifferences::SplitDifferences(const StreamingCovariance& stream) : stream_(stream) {
  const ScatterGroups& groups = stream.groups();
  std::array<double, kGroups> degrees;
  for (int group = 0; group < kGroups; ++group) degrees[group] = static_cast<double>(groups.degrees_of_freedom(group));
  const bool open = stream.open_count() > 1;
  if (open) degrees[stream.open_group()] += static_cast<double>(stream.open_count() - 1);

  double total_degrees = 0;
  int slots = 0;
  for (int group = 0; group < kGroups; group += 2) {
    if (degrees[group] == 0 || degrees[group + 1] == 0) continue;
    factors_[group] = std::sqrt(degrees[group + 1] / degrees[group]);
    factors_[group + 1] = -std::sqrt(degrees[group] / degrees[group + 1]);
    total_degrees += degrees[group] + degrees[group + 1];
    ++slots;
  }
  kurtosis_share_ =
      std::accumulate(degrees.begin(), degrees.end(), 0.0) / static_cast<double>(std::max<int64_t>(stream.count(), 1));
  available_ = slots >= kFewestSlots;
  if (!available_) return;
  const double scale = 1 / std::sqrt(total_degrees * static_cast<double>(stream.count() - 1));
  for (double& factor : factors_) factor *= scale;
  if (open) open_scatter_ = stream.OpenScatter();
}

void SplitDifferences::Draw(absl::BitGenRef generator, Eigen::MatrixXd& lower) const {
  std::array<double, kGroups> weights;
  for (int group = 0; group < kGroups; group += 2) {
    const double sign = absl::uniform_int_distribution<int>(0, 1)(generator) == 0 ? 1 : -1;
    weights[group] = sign * factors_[group];
    weights[group + 1] = sign * factors_[group + 1];
  }
  lower.resize(stream_.dimension(), stream_.dimension());
  stream_.groups().WeightedSum(weights, lower);
  if (open_scatter_.size() > 0) lower.triangularView<Eigen::Lower>() += weights[stream_.open_group()] * open_scatter_;
}

std::vector<double> SplitDifferenceNorms(const StreamingCovariance& stream, absl::BitGenRef generator, int draws) {
  const SplitDifferences differences(stream);
  if (!differences.available()) return {};
  std::vector<double> norms(draws);
  Eigen::MatrixXd difference;
  for (double& norm : norms) {
    differences.Draw(generator, difference);
    norm = SpectralNormSymmetric(difference);
  }
  return norms;
}

SplitLimit CombineSplitNorms(const std::vector<double>& norms, const SplitShape& shape, double level) {
  const double draws = static_cast<double>(norms.size());
  const double mean = std::accumulate(norms.begin(), norms.end(), 0.0) / draws;
  double squares = 0;
  for (const double norm : norms) squares += (norm - mean) * (norm - mean);
  const double deviation = std::sqrt(squares / (draws - 1));
  const double n = static_cast<double>(shape.batch_size);
  const double skew = 1 + 0.5 * std::sqrt(shape.effective_rank / shape.count) * (1 + 4 / n) / std::sqrt(1 + 2 / n);
  const double kurtosis = std::sqrt((2 + 6 / n) / (2 + 6 / n * shape.kurtosis_share));
  const double quantile = boost::math::quantile(boost::math::normal(), level);
  return {skew * kurtosis * mean, skew * kurtosis * (mean + kDeviations * quantile * deviation)};
}

}  // namespace gradoracle
