#include "core/reply_grid.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "boost/math/distributions/chi_squared.hpp"
#include "core/gradient_engine.h"
#include "core/local_oracle.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

constexpr double kFailureProbability = 1e-8;

RegressionData MakeData(const RowMajorMatrix& features) {
  RegressionData data;
  data.features = features;
  data.targets = Eigen::VectorXd::LinSpaced(features.rows(), -1, 1);
  data.feature_names = {"a", "b"};
  data.target_name = "y";
  return data;
}

// Four rows of very different sizes and few bits each.
RegressionData FourRows() {
  RowMajorMatrix features(4, 2);
  features << 1, 0.5, -0.0625, 2, 0.001953125, 1, 3, -1;
  return MakeData(features);
}

ReplyNoise Calibrated(int64_t max_batch_size) {
  ReplyNoise noise;
  noise.residual_variance = 0.5;
  noise.max_batch_size = max_batch_size;
  return noise;
}

TEST(ReplyGridTest, SmallestNoiseOfEveryRule) {
  ReplyNoise noise = Calibrated(10);
  EXPECT_EQ(SmallestRelativeNoise(noise, 100), 1);
  noise.policy = {NoiseRule::kScaled, 0.25, 0};
  EXPECT_EQ(SmallestRelativeNoise(noise, 100), 0.25);
  noise.policy = {NoiseRule::kFixed, 1, 2};
  EXPECT_DOUBLE_EQ(SmallestRelativeNoise(noise, 100), 2.5 / 10);
  noise.policy = {NoiseRule::kNone, 1, 2};
  EXPECT_DOUBLE_EQ(SmallestRelativeNoise(noise, 100), 0.5 / 10);
  noise.extra_variances = {7, 0.01};
  EXPECT_DOUBLE_EQ(SmallestRelativeNoise(noise, 100), 0.001);
  noise.extra_variances.clear();
  noise.sampling = Sampling::kWithoutReplacement;
  EXPECT_DOUBLE_EQ(SmallestRelativeNoise(noise, 100), 0.5 * 90 / 99 / 10);
}

// Catches a grid that is not a power of two, too coarse (an estimator would notice), or needlessly fine.
TEST(ReplyGridTest, IsTheLargestPowerOfTwoWithinAMillionthOfTheSmallestDeviation) {
  for (const double scale : {1e-3, 1.0, 7.0, 1e6}) {
    RegressionData data = FourRows();
    data.features *= scale;
    const double smallest = std::sqrt((data.features.colwise().squaredNorm() / 4.0).minCoeff());
    const double grid = ReplyGrid(data, Calibrated(4));
    int exponent = 0;
    EXPECT_EQ(std::frexp(grid, &exponent), 0.5) << scale;
    EXPECT_LE(grid, 1e-6 * smallest) << scale;
    EXPECT_GT(2 * grid, 1e-6 * smallest) << scale;
  }
}

TEST(ReplyGridTest, SkipsFeaturesThatAreZeroAndOraclesWithoutNoise) {
  RegressionData data = FourRows();
  const double grid = ReplyGrid(data, Calibrated(4));
  data.features.conservativeResize(4, 3);
  data.features.col(2).setZero();
  EXPECT_EQ(ReplyGrid(data, Calibrated(4)), grid);
  ReplyNoise none = Calibrated(4);
  none.policy.rule = NoiseRule::kNone;
  none.residual_variance = 0;
  EXPECT_EQ(ReplyGrid(data, none), 0);
}

// Upper quantile of chi-square with (rows - 1) (columns - 1) degrees of freedom.
double Quantile(int degrees) {
  return boost::math::quantile(
      boost::math::complement(boost::math::chi_squared_distribution<double>(degrees), kFailureProbability));
}

constexpr int kRows = 4;
constexpr int kBuckets = 16;
using Table = std::array<std::array<double, kBuckets>, kRows>;

struct Statistics {
  double uniform;      // against the uniform law
  double independent;  // of the row
};

Statistics ChiSquare(const Table& table) {
  std::array<double, kRows> row_sums{};
  std::array<double, kBuckets> bucket_sums{};
  double total = 0;
  for (int i = 0; i < kRows; ++i) {
    for (int b = 0; b < kBuckets; ++b) {
      row_sums[i] += table[i][b];
      bucket_sums[b] += table[i][b];
      total += table[i][b];
    }
  }
  Statistics statistics{};
  for (int b = 0; b < kBuckets; ++b) {
    statistics.uniform += std::pow(bucket_sums[b] - total / kBuckets, 2) / (total / kBuckets);
    for (int i = 0; i < kRows; ++i) {
      const double expected = row_sums[i] * bucket_sums[b] / total;
      if (expected > 0) statistics.independent += std::pow(table[i][b] - expected, 2) / expected;
    }
  }
  return statistics;
}

// The last four bits of coordinate 0 of 10^5 replies of one row each, by row. Without a grid: the last bits of the
// double, whose place says how large the row is and whose value how many bits it has.
Table LowBits(const RegressionData& data, double grid) {
  const GradientEngine engine(&data, {Sampling::kIid, NoisePolicy(), 0.5, grid});
  GradientQuery query;
  query.weights = Eigen::Vector2d(0.25, -0.5);
  query.batch_size = 1;
  query.count = 100'000;
  const RequestKey key{3};
  GradientStream stream = *engine.Start(query, key);
  RowMajorMatrix gradients(query.count, 2);
  stream.Compute(0, gradients);
  RandomStream random(key);
  RowSampler sampler(Sampling::kIid, kRows, 1);
  Table table{};
  for (int64_t k = 0; k < query.count; ++k) {
    std::vector<uint32_t> row(1);
    sampler.Draw(random, k, absl::MakeSpan(row));
    const double value = gradients(k, 0);
    int64_t bits = 0;
    if (grid > 0) {
      EXPECT_EQ(std::remainder(value, grid), 0);
      bits = std::llround(value / grid);
    } else {
      std::memcpy(&bits, &value, sizeof bits);
    }
    ++table[row[0]][static_cast<size_t>(bits & (kBuckets - 1))];
  }
  return table;
}

// Catches replies that leave without rounding, or are rounded relative to their own size (threats.md row 19).
TEST(ReplyGridTest, LowestBitsAreUniformAndTellNothingOfTheRow) {
  const RegressionData data = FourRows();
  const Statistics rounded = ChiSquare(LowBits(data, ReplyGrid(data, Calibrated(1))));
  EXPECT_LT(rounded.uniform, Quantile(kBuckets - 1));
  EXPECT_LT(rounded.independent, Quantile((kRows - 1) * (kBuckets - 1)));
  // The test sees what it is for: the unrounded replies fail it by far.
  const Statistics unrounded = ChiSquare(LowBits(data, 0));
  EXPECT_GT(unrounded.independent, 4 * Quantile((kRows - 1) * (kBuckets - 1)));
}

TEST(ReplyGridTest, RepliesOfAnOracleAreTheNearestOnTheGrid) {
  OracleOptions options;
  options.min_batch_size = 2;
  const auto oracle = LocalOracle::FromData(FourRows(), options);
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  const GradientEngine& engine = (*oracle)->engine();
  const double grid = engine.options().grid;
  ASSERT_GT(grid, 0);
  GradientEngine::Options exact_options = engine.options();
  exact_options.grid = 0;
  const GradientEngine exact_engine(&(*oracle)->data(), exact_options);
  GradientQuery query;
  query.weights = Eigen::Vector2d(0.1, 0.2);
  query.batch_size = 3;
  query.count = 100;
  RowMajorMatrix rounded(100, 2);
  RowMajorMatrix exact(100, 2);
  engine.Start(query, RequestKey{5})->Compute(0, rounded);
  exact_engine.Start(query, RequestKey{5})->Compute(0, exact);
  EXPECT_LE((rounded - exact).cwiseAbs().maxCoeff(), grid / 2);
  EXPECT_GT((rounded - exact).cwiseAbs().maxCoeff(), 0);
  for (const double value : rounded.reshaped()) EXPECT_EQ(std::remainder(value, grid), 0);
}

}  // namespace
}  // namespace gradoracle
