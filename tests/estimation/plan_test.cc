#include "client/estimation/plan.h"

#include <cmath>
#include <random>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::Optional;

constexpr int64_t kLargeBatch = int64_t{1} << 50;  // 1 + 2/n = 1

// The table of theory 1.2 for d = 100, e = 0.1, delta = 0.05. Catches: ln(2/delta) for ln(1/delta), d for sqrt d, the
// level taken for delta.
TEST(Plan, GivesTheNumbersOfTheTable) {
  EXPECT_EQ(*GradientsByEffectiveRank(100, kLargeBatch, 0.1, 0.95), 55045);
  EXPECT_EQ(*GradientsByEffectiveRank(5.19, kLargeBatch, 0.1, 0.95), 6429);  // 1/j
  EXPECT_EQ(*GradientsWhitened(100, 0.1, 0.95), 67877);                      // 67,876.2 rounded up
  const Plan plan = *PlanGradients(100, kLargeBatch, 0.1, 0.95);
  EXPECT_EQ(plan.optimistic, 2983);
  EXPECT_EQ(plan.worst, 55045);
  EXPECT_EQ(plan.whitened, 67877);
}

// Catches: the batch size forgotten. n = 1: three times as many.
TEST(Plan, SmallBatchesCostMore) {
  EXPECT_NEAR(static_cast<double>(*GradientsByEffectiveRank(5, 1, 0.1, 0.95)) /
                  static_cast<double>(*GradientsByEffectiveRank(5, kLargeBatch, 0.1, 0.95)),
              3, 1e-3);
}

TEST(Plan, RefusesWhatMakesNoSense) {
  const auto reason = [](const auto& result) { return ErrorReason(result.status()); };
  for (const double error : {0.0, -0.1, 1.1, std::nan("")}) {
    EXPECT_THAT(reason(PlanGradients(10, 64, error, 0.95)), Optional(std::string("TARGET_ERROR_OUT_OF_RANGE")));
  }
  for (const double level : {0.5, 1.0, std::nan("")}) {
    EXPECT_THAT(reason(PlanGradients(10, 64, 0.1, level)), Optional(std::string("LEVEL_OUT_OF_RANGE")));
  }
  EXPECT_THAT(reason(PlanGradients(0, 64, 0.1, 0.95)), Optional(std::string("DIMENSION_NOT_POSITIVE")));
  EXPECT_THAT(reason(PlanGradients(10, 0, 0.1, 0.95)), Optional(std::string("BATCH_SIZE_NOT_POSITIVE")));
  EXPECT_THAT(reason(GradientsByEffectiveRank(0.9, 64, 0.1, 0.95)),
              Optional(std::string("EFFECTIVE_RANK_OUT_OF_RANGE")));
  EXPECT_EQ(*GradientsByEffectiveRank(10, 64, 1e-12, 0.95), 1000000000000000);  // no overflow
}

HessianEstimate Pilot(std::mt19937_64& generator, const Eigen::VectorXd& variances, int64_t count) {
  HessianEstimator::Options options;
  options.batch_size = 256;
  options.total_noise_variance = 256;
  options.expected_count = count;
  absl::StatusOr<HessianEstimator> estimator = HessianEstimator::Create(variances.size(), options);
  EXPECT_TRUE(
      estimator->Add(StandardNormal(generator, count, variances.size()) * variances.cwiseSqrt().asDiagonal()).ok());
  return *estimator->Estimate(generator, 0.95);
}

// The pilot's range holds the true effective rank, and is narrower than [1, d]. Two limits at .95 each: at least .90 of
// the runs at worst; the chance of fewer than 160 of 200 is below 1e-5.
TEST(Plan, APilotNarrows) {
  std::mt19937_64 generator(1);
  const int64_t d = 30;
  const Eigen::VectorXd decaying = Eigen::ArrayXd::LinSpaced(d, 1, d).inverse();
  int held = 0;
  for (int run = 0; run < 200; ++run) {
    const absl::StatusOr<NarrowedPlan> plan = NarrowPlan(Pilot(generator, decaying, 512), 0.1);
    ASSERT_TRUE(plan.ok());
    EXPECT_GT(plan->gradients.optimistic, PlanGradients(d, 256, 0.1, 0.95)->optimistic);
    EXPECT_LT(plan->gradients.worst, PlanGradients(d, 256, 0.1, 0.95)->worst);
    held += plan->effective_rank_lower <= decaying.sum() && decaying.sum() <= plan->effective_rank_upper ? 1 : 0;
  }
  EXPECT_GE(held, 160);
}

TEST(Plan, APilotWithoutALimitNarrowsNothing) {
  std::mt19937_64 generator(2);
  const absl::StatusOr<NarrowedPlan> plan = NarrowPlan(Pilot(generator, Eigen::VectorXd::Ones(40), 20), 0.1);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->effective_rank_lower, 1);
  EXPECT_EQ(plan->effective_rank_upper, 40);
  EXPECT_EQ(plan->gradients.worst, PlanGradients(40, 256, 0.1, 0.95)->worst);
}

}  // namespace
}  // namespace gradoracle
