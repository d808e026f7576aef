// Does the error limit of every estimator cover, and is it not needlessly wide? Monte Carlo against the known truth of
// a Gaussian population. GRADORACLE_LONG_TESTS runs 4000 a case instead of 250.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "boost/math/distributions/binomial.hpp"
#include "client/estimation/estimator.h"
#include "core/error_norm.h"
#include "gtest/gtest.h"
#include "tests/estimation/population_source.h"

namespace gradoracle {
namespace {

constexpr int64_t kDimension = 10;
constexpr int64_t kBatchSize = 64;
constexpr double kLevel = 0.95;
constexpr double kPromised = 0.93;
constexpr double kFalseAlarm = 1e-7;

struct Case {
  std::string name;
  Estimator estimator;
  bool unit_diagonal;
  double distance;  // q of the start, in n
  int64_t count;
  double rho = 0.5;
  double max_weights_norm = 100;
};

std::vector<Case> Cases() {
  using enum Estimator;
  std::vector<Case> cases;
  for (const bool unit : {false, true}) {
    const std::string suffix = unit ? "UnitDiagonal" : "";
    cases.push_back({"Covariance" + suffix, kCovariance, unit, 0, 768});
    cases.push_back({"CovarianceSpiked" + suffix, kCovariance, unit, 0, 768, 0.95});
    cases.push_back({"CovarianceWhite" + suffix, kCovariance, unit, 0, 768, 0});
    cases.push_back({"CorrectedNear" + suffix, kCorrected, unit, 0.02, 768});
    cases.push_back({"CorrectedFar" + suffix, kCorrected, unit, 0.25, 1536});
    cases.push_back({"TwoLevel" + suffix, kTwoLevel, unit, 4, 1536});
    cases.push_back({"Probe" + suffix, kProbe, unit, 4, 768});
    cases.push_back({"Active" + suffix, kActive, unit, 4, 768});
    cases.push_back({"ActiveSpiked" + suffix, kActive, unit, 4, 768, 0.95});
    cases.push_back({"ActiveWhite" + suffix, kActive, unit, 4, 768, 0});
    cases.push_back({"ActiveFewest" + suffix, kActive, unit, 4, 4 * kDimension});
    cases.push_back({"WarmUp" + suffix, kWarmUp, unit, 4, 2048});
  }
  cases.push_back({"AutoActive", kAuto, true, 4, 1024});
  cases.push_back({"AutoWarmUp", kAuto, true, 4, 2048, 0.5, 24});
  return cases;
}

class EstimatorLimit : public ::testing::TestWithParam<Case> {};

// Catches: a limit whose differences lack a scale, a stream or a term of the delta method; one that ignores what the
// unit diagonal gains (then it is more than 1.3 times too wide).
TEST_P(EstimatorLimit, CoversAndIsTight) {
  const Case& test = GetParam();
  const int runs = std::getenv("GRADORACLE_LONG_TESTS") != nullptr ? 4000 : 250;
  const Eigen::MatrixXd sigma = DecayingCorrelation(kDimension, test.rho);
  const Eigen::VectorXd optimum = Eigen::VectorXd::Constant(kDimension, 0.1);
  PopulationSource source(sigma, optimum, 1);
  source.info.noise.extra_variances = {100.0 * kBatchSize};
  source.info.noise.curvature_probe = test.estimator != Estimator::kAuto;
  source.info.limits.max_weights_norm = test.max_weights_norm;
  EstimationOptions options;
  options.estimator = test.estimator;
  options.weights = PointAt(sigma, optimum, test.distance * kBatchSize);
  options.batch_size = kBatchSize;
  options.count = test.count;
  options.impose_unit_diagonal = test.unit_diagonal;
  options.level = kLevel;
  std::mt19937_64 generator(2);
  int covered = 0;
  std::vector<double> errors, limits;
  for (int run = 0; run < runs; ++run) {
    const absl::StatusOr<HessianEstimate> estimate = EstimateHessian(source, options, generator);
    ASSERT_TRUE(estimate.ok()) << estimate.status();
    EXPECT_EQ(estimate->unit_diagonal, test.unit_diagonal);
    errors.push_back(*RelativeError(estimate->hessian, sigma));
    limits.push_back(estimate->relative_error.upper.value_or(1e9));
    if (errors.back() <= limits.back()) ++covered;
    source.queries.clear();
  }
  std::sort(errors.begin(), errors.end());
  std::sort(limits.begin(), limits.end());
  const double quantile = errors[static_cast<size_t>(kLevel * runs)];
  const double coverage = static_cast<double>(covered) / runs;
  const double width = limits[static_cast<size_t>(runs / 2)] / quantile;
  std::printf("%-28s coverage %.3f, median limit / true quantile %.2f, median error %.3f\n", test.name.c_str(),
              coverage, width, errors[static_cast<size_t>(runs / 2)]);
  const double fewest = boost::math::quantile(boost::math::binomial_distribution<double>(runs, kPromised), kFalseAlarm);
  EXPECT_GE(covered, fewest);
  // The empirical quantile of 250 runs is itself off by some percent.
  EXPECT_LE(width, 1.3 * (1 + 2 / std::sqrt(static_cast<double>(runs))));
}

INSTANTIATE_TEST_SUITE_P(All, EstimatorLimit, ::testing::ValuesIn(Cases()),
                         [](const ::testing::TestParamInfo<Case>& instance) { return instance.param.name; });

}  // namespace
}  // namespace gradoracle
