#include "client/audit/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/random/distributions.h"

namespace gradoracle {
namespace {

constexpr int kDraws = 1000;
constexpr size_t kFewestForInterval = 6;

// P(Binomial(count, 1/2) = k).
double HalfBinomial(size_t count, size_t k) {
  const double n = static_cast<double>(count);
  const double x = static_cast<double>(k);
  return std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) - n * std::log(2.0));
}

double MedianInPlace(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double DrawMedian(const std::vector<double>& values, absl::BitGenRef generator, std::vector<double>& scratch) {
  scratch.resize(values.size());
  for (double& value : scratch) value = values[absl::Uniform<size_t>(generator, 0, values.size())];
  return MedianInPlace(scratch);
}

}  // namespace

double Median(std::vector<double> values) { return MedianInPlace(values); }

std::optional<ErrorInterval> MedianInterval(std::vector<double> values, double level) {
  size_t rank = 0;
  double below = 0;  // P(Binomial < rank)
  while (rank < values.size()) {
    const double next = below + HalfBinomial(values.size(), rank);
    if (next > (1 - level) / 2) break;
    below = next;
    ++rank;
  }
  if (rank == 0) return std::nullopt;
  std::sort(values.begin(), values.end());
  return ErrorInterval{values[rank - 1], values[values.size() - rank]};
}

std::optional<SmallestMedian> FindSmallestMedian(const std::vector<std::vector<double>>& attacks, double level,
                                                 absl::BitGenRef generator) {
  std::optional<SmallestMedian> smallest;
  for (size_t index = 0; index < attacks.size(); ++index) {
    if (attacks[index].empty()) continue;
    const double median = Median(attacks[index]);
    if (!smallest.has_value() || median < smallest->median) smallest = SmallestMedian{index, median, std::nullopt};
  }
  if (!smallest.has_value() || attacks[smallest->index].size() < kFewestForInterval) return smallest;
  std::vector<double> minima, scratch;
  for (int draw = 0; draw < kDraws; ++draw) {
    double minimum = std::numeric_limits<double>::infinity();
    for (const std::vector<double>& values : attacks) {
      if (!values.empty()) minimum = std::min(minimum, DrawMedian(values, generator, scratch));
    }
    minima.push_back(minimum);
  }
  std::sort(minima.begin(), minima.end());
  const auto percentile = [&](double share) {
    return minima[static_cast<size_t>(std::lround(share * static_cast<double>(minima.size() - 1)))];
  };
  smallest->interval = ErrorInterval{percentile((1 - level) / 2), percentile((1 + level) / 2)};
  return smallest;
}

}  // namespace gradoracle
