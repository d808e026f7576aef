#include "client/estimation/sequential.h"

#include <cmath>
#include <random>
#include <string>

#include "boost/math/distributions/binomial.hpp"
#include "core/error_norm.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::Optional;

HessianEstimator Estimator(int64_t dimension, int64_t batch_size, int64_t expected_count) {
  HessianEstimator::Options options;
  options.batch_size = batch_size;
  options.total_noise_variance = static_cast<double>(batch_size);
  options.expected_count = expected_count;
  absl::StatusOr<HessianEstimator> estimator = HessianEstimator::Create(dimension, options);
  EXPECT_TRUE(estimator.ok());
  return *std::move(estimator);
}

// Catches: delta_k that do not sum to delta (theory's display lacks a square on pi), looks that do not grow.
TEST(Sequential, LevelsSumToTheWhole) {
  double sum = 0;
  for (int64_t look = 1; look <= 100000; ++look) sum += 1 - LookLevel(0.95, look);
  EXPECT_LE(sum, 0.05);
  EXPECT_GT(sum, 0.0499);
  const SequentialOptions options{.target_error = 0.1, .largest_count = 1000, .first_count = 300};
  EXPECT_EQ(LookCount(options, 1), 300);
  EXPECT_EQ(LookCount(options, 2), 450);
  EXPECT_EQ(LookCount(options, 3), 675);
  EXPECT_EQ(LookCount(options, 4), 1000);
  EXPECT_EQ(LookCount(options, 400), 1000);
  EXPECT_EQ(*FirstLookCount(int64_t{1} << 50, 0.1, 0.95), 1491);
  EXPECT_EQ(*FirstLookCount(64, 1, 0.95), 256);
}

// Where the error is larger than asked although the limit said no. Catches: stopping by the estimated error instead of
// its limit (half of the runs), a limit that loses its level. 120 runs a population; the allowed number is the 1 - 1e-7
// quantile at a true rate of delta = .05.
TEST(Sequential, StopsBelowTheTarget) {
  constexpr int kRuns = 120;
  const double target = 0.25;
  const double most = boost::math::quantile(boost::math::complement(boost::math::binomial(kRuns, 0.05), 1e-7));
  const int64_t d = 10;
  std::mt19937_64 generator(1);
  for (const int64_t n : {1, 64}) {
    for (const bool decaying : {false, true}) {
      Eigen::VectorXd variances = Eigen::VectorXd::Ones(d);
      if (decaying) variances = Eigen::ArrayXd::LinSpaced(d, 1, d).inverse();
      const Eigen::MatrixXd truth = variances.asDiagonal();
      const int64_t first = *FirstLookCount(n, target, 0.95);
      const SequentialOptions options{.target_error = target, .largest_count = 100000, .first_count = first};
      int violations = 0;
      double total = 0;
      for (int run = 0; run < kRuns; ++run) {
        HessianEstimator estimator = Estimator(d, n, first);
        const auto gather = [&](int64_t count) {
          return estimator.Add(GaussianPopulationGradients(generator, truth, Eigen::VectorXd::Zero(d), n,
                                                           static_cast<double>(n), count));
        };
        const absl::StatusOr<SequentialEstimate> result = EstimateUntil(options, estimator, gather, generator);
        ASSERT_TRUE(result.ok()) << result.status();
        ASSERT_TRUE(result->reached);
        EXPECT_LE(*result->estimate.relative_error.upper, target);
        EXPECT_EQ(result->estimate.relative_error.level, 0.95);
        violations += *RelativeError(result->estimate.hessian, truth) > target ? 1 : 0;
        total += static_cast<double>(estimator.count());
      }
      EXPECT_LE(violations, most) << "n " << n << ", decaying " << decaying;
      RecordProperty(std::string(decaying ? "decaying" : "identity") + "_n" + std::to_string(n),
                     std::to_string(violations) + " violations, mean count " + std::to_string(total / kRuns));
    }
  }
}

TEST(Sequential, GivesUpAtTheLargestCount) {
  std::mt19937_64 generator(2);
  HessianEstimator estimator = Estimator(5, 64, 256);
  std::vector<int64_t> requests;
  const auto gather = [&](int64_t count) {
    requests.push_back(count);
    return estimator.Add(StandardNormal(generator, count, 5));
  };
  const SequentialOptions options{.target_error = 0.001, .largest_count = 500, .first_count = 256};
  const absl::StatusOr<SequentialEstimate> result = EstimateUntil(options, estimator, gather, generator);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->reached);
  EXPECT_EQ(result->looks, 3);
  EXPECT_EQ(requests, (std::vector<int64_t>{256, 128, 116}));
  EXPECT_EQ(result->estimate.gradients, 500);
}

// Catches: asking again for what a resumed estimator holds, or never looking at it.
TEST(Sequential, GoesOnWithWhatIsThere) {
  std::mt19937_64 generator(3);
  HessianEstimator estimator = Estimator(3, 64, 4096);
  ASSERT_TRUE(estimator.Add(StandardNormal(generator, 4096, 3)).ok());
  const auto none = [](int64_t) { return absl::InternalError("asked"); };
  const SequentialOptions options{.target_error = 0.5, .largest_count = 4096, .first_count = 256};
  const absl::StatusOr<SequentialEstimate> result = EstimateUntil(options, estimator, none, generator);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->reached);
  EXPECT_EQ(result->estimate.gradients, 4096);
}

TEST(Sequential, AnInterruptedGatherIsTheLast) {
  std::mt19937_64 generator(4);
  HessianEstimator estimator = Estimator(3, 64, 4096);
  const auto some = [&](int64_t) { return estimator.Add(StandardNormal(generator, 100, 3)); };
  const SequentialOptions options{.target_error = 0.01, .largest_count = 100000, .first_count = 256};
  const absl::StatusOr<SequentialEstimate> result = EstimateUntil(options, estimator, some, generator);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->reached);
  EXPECT_EQ(result->looks, 1);
  EXPECT_EQ(result->estimate.gradients, 100);
}

TEST(Sequential, ErrorsNameTheField) {
  std::mt19937_64 generator(5);
  HessianEstimator estimator = Estimator(3, 64, 256);
  const auto none = [](int64_t) { return absl::UnavailableError("no oracle"); };
  const auto run = [&](const SequentialOptions& options) {
    return EstimateUntil(options, estimator, none, generator).status();
  };
  EXPECT_THAT(ErrorField(run({.target_error = 0, .largest_count = 100, .first_count = 9})),
              Optional(std::string("target_error")));
  EXPECT_THAT(ErrorField(run({.target_error = 0.1, .level = 1, .largest_count = 100, .first_count = 9})),
              Optional(std::string("level")));
  EXPECT_THAT(ErrorField(run({.target_error = 0.1, .largest_count = 1, .first_count = 9})),
              Optional(std::string("count")));
  EXPECT_EQ(run({.target_error = 0.1, .largest_count = 100, .first_count = 9}).message(), "no oracle");
}

// Catches: looks counted from one again when gradients are already there. A resumed run has had its earlier looks: the
// limit is that of the step reached, here the eighth (256 1.5^7 > 4096), not of the first.
TEST(Sequential, ResumingDoesNotSpendTheLevelTwice) {
  std::mt19937_64 generator(6);
  HessianEstimator estimator = Estimator(3, 64, 4096);
  ASSERT_TRUE(estimator.Add(StandardNormal(generator, 4096, 3)).ok());
  const auto none = [](int64_t) { return absl::InternalError("asked"); };
  const SequentialOptions options{.target_error = 0.001, .largest_count = 4096, .first_count = 256};
  std::mt19937_64 signs(7);
  const absl::StatusOr<SequentialEstimate> result = EstimateUntil(options, estimator, none, signs);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->looks, 1);
  std::mt19937_64 same_signs(7);
  const absl::StatusOr<HessianEstimate> eighth = estimator.Estimate(same_signs, LookLevel(options.level, 8));
  ASSERT_TRUE(eighth.ok());
  EXPECT_EQ(*result->estimate.relative_error.upper, *eighth->relative_error.upper);
}

}  // namespace
}  // namespace gradoracle
