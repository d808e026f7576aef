#include "client/audit/support_leak.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "absl/random/distributions.h"

namespace gradoracle {
namespace {

constexpr double kZeroByRounding = 4e-7;  // grid/(sqrt(2 pi) deviation), grid <= 1e-6 deviations [core/reply_grid.h]
constexpr double kFalseAlarm = 1e-7;
constexpr size_t kCoordinates = 64;
constexpr double kLargestCorrelation = 0.999;
constexpr double kNarrow = 2e-4;  // of log |ratio|
constexpr double kWide = 1e-2;
constexpr size_t kFewest = 20;
constexpr int kBatches = 64;

// Least k with P(Poisson(mean) > k) <= kFalseAlarm.
int64_t PoissonQuantile(double mean) {
  double term = std::exp(-mean);
  double at_most = term;
  int64_t k = 0;
  // 1 - at_most loses digits below 1e-16, far under kFalseAlarm.
  while (1 - at_most > kFalseAlarm) {
    ++k;
    term *= mean / static_cast<double>(k);
    at_most += term;
  }
  return k;
}

// Coordinates of largest kurtosis, at most kCoordinates: sparse features make heavy tails.
std::vector<Eigen::Index> SparsestCoordinates(const RowMajorMatrix& centred) {
  const Eigen::ArrayXd second = centred.array().square().colwise().mean().transpose();
  const Eigen::ArrayXd fourth = centred.array().square().square().colwise().mean().transpose();
  std::vector<Eigen::Index> order;
  for (Eigen::Index j = 0; j < centred.cols(); ++j) {
    if (second[j] > 0) order.push_back(j);
  }
  std::stable_sort(order.begin(), order.end(), [&](Eigen::Index a, Eigen::Index b) {
    return fourth[a] / (second[a] * second[a]) > fourth[b] / (second[b] * second[b]);
  });
  if (order.size() > kCoordinates) order.resize(kCoordinates);
  return order;
}

// log |a/b| of every gradient where both are non-zero, those of negative ratio moved out of reach of the others;
// sorted.
std::vector<double> LogRatios(const Eigen::Ref<const Eigen::VectorXd>& a, const Eigen::Ref<const Eigen::VectorXd>& b) {
  constexpr double kApart = 1e6;
  std::vector<double> ratios;
  for (Eigen::Index k = 0; k < a.size(); ++k) {
    if (a[k] == 0 || b[k] == 0) continue;
    ratios.push_back(std::log(std::abs(a[k] / b[k])) + ((a[k] < 0) != (b[k] < 0) ? kApart : 0));
  }
  std::sort(ratios.begin(), ratios.end());
  return ratios;
}

// Size of the largest atom among sorted values; 0 when there is none, or when it holds them all (collinear features).
size_t LargestAtom(const std::vector<double>& values) {
  size_t largest = 0;
  size_t end = 0;
  for (size_t first = 0; first < values.size(); ++first) {
    while (end < values.size() && values[end] - values[first] <= kNarrow) ++end;
    const size_t narrow = end - first;
    if (narrow < kFewest || narrow <= largest) continue;
    const double middle = values[first + narrow / 2];
    const auto from = std::lower_bound(values.begin(), values.end(), middle - kWide / 2);
    const auto to = std::upper_bound(values.begin(), values.end(), middle + kWide / 2);
    if (static_cast<double>(narrow) >= 0.25 * static_cast<double>(to - from)) largest = narrow;
  }
  return largest == values.size() ? 0 : largest;
}

}  // namespace

SupportLeak FindSupportLeak(const RowMajorMatrix& gradients) {
  SupportLeak leak;
  leak.gradients = gradients.rows();
  const double entries = static_cast<double>(gradients.size());
  leak.zeros = (gradients.array() == 0).count();
  leak.zero_share = entries > 0 ? static_cast<double>(leak.zeros) / entries : 0;
  leak.zeros_by_chance = PoissonQuantile(kZeroByRounding * entries);
  if (gradients.rows() < static_cast<Eigen::Index>(kFewest)) return leak;

  const RowMajorMatrix centred = gradients.rowwise() - gradients.colwise().mean();
  const std::vector<Eigen::Index> coordinates = SparsestCoordinates(centred);
  std::set<int64_t> features;
  for (size_t a = 0; a < coordinates.size(); ++a) {
    for (size_t b = a + 1; b < coordinates.size(); ++b) {
      const Eigen::VectorXd first = centred.col(coordinates[a]);
      const Eigen::VectorXd second = centred.col(coordinates[b]);
      if (std::abs(first.dot(second)) > kLargestCorrelation * first.norm() * second.norm()) continue;
      const size_t atom = LargestAtom(LogRatios(gradients.col(coordinates[a]), gradients.col(coordinates[b])));
      if (atom == 0) continue;
      features.insert(coordinates[a]);
      features.insert(coordinates[b]);
      leak.repeated_share =
          std::max(leak.repeated_share, static_cast<double>(atom) / static_cast<double>(gradients.rows()));
    }
  }
  leak.features.assign(features.begin(), features.end());
  return leak;
}

BatchSupport MeasureBatchSupport(const RegressionData& data, int64_t batch_size, absl::BitGenRef generator) {
  const Eigen::Index dimension = data.features.cols();
  Eigen::VectorXd usual(dimension);  // each column's most frequent value
  for (Eigen::Index j = 0; j < dimension; ++j) {
    std::map<double, int64_t> counts;
    for (Eigen::Index i = 0; i < data.features.rows(); ++i) ++counts[data.features(i, j)];
    usual[j] = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
                 return a.second < b.second;
               })->first;
  }
  int64_t readable = 0, absent = 0;
  std::vector<Eigen::Index> rows(static_cast<size_t>(batch_size));
  for (int batch = 0; batch < kBatches; ++batch) {
    for (Eigen::Index& row : rows) row = absl::Uniform<Eigen::Index>(generator, 0, data.features.rows());
    std::set<size_t> alone;
    for (Eigen::Index j = 0; j < dimension; ++j) {
      int64_t present = 0;
      size_t last = 0;
      for (size_t place = 0; place < rows.size() && present < 2; ++place) {
        if (data.features(rows[place], j) == usual[j]) continue;
        ++present;
        last = place;
      }
      absent += present == 0 ? 1 : 0;
      if (present == 1) alone.insert(last);
    }
    readable += static_cast<int64_t>(alone.size());
  }
  BatchSupport support;
  support.readable_residuals = static_cast<double>(readable) / static_cast<double>(kBatches * batch_size);
  support.absent_coordinates = static_cast<double>(absent) / static_cast<double>(kBatches * dimension);
  return support;
}

}  // namespace gradoracle
