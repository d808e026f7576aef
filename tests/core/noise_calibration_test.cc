#include "core/noise_calibration.h"

#include <cmath>
#include <limits>
#include <string>

#include "core/errors.h"
#include "core/sampling.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kLargestInteger = std::numeric_limits<int64_t>::max();

NoisePolicy Calibrated() { return {}; }
NoisePolicy Scaled(double scale) { return {.rule = NoiseRule::kScaled, .scale = scale}; }
NoisePolicy Fixed(double variance) { return {.rule = NoiseRule::kFixed, .variance = variance}; }
NoisePolicy None() { return {.rule = NoiseRule::kNone}; }

TEST(NoiseRuleTest, NamesRoundTrip) {
  for (const char* name : {"calibrated", "scaled", "fixed", "none"}) {
    const absl::StatusOr<NoiseRule> rule = ParseNoiseRule(name);
    ASSERT_TRUE(rule.ok()) << rule.status();
    EXPECT_EQ(NoiseRuleName(*rule), name);
  }
  EXPECT_EQ(*ParseNoiseRule("scaled"), NoiseRule::kScaled);
  const absl::Status unknown = ParseNoiseRule("Calibrated").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(unknown), "noise_rule");
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("calibrated, scaled, fixed, none"));
}

TEST(NoisePolicyTest, ChecksOnlyWhatTheRuleUses) {
  EXPECT_TRUE(ValidateNoisePolicy(Calibrated()).ok());
  EXPECT_TRUE(ValidateNoisePolicy({.rule = NoiseRule::kCalibrated, .scale = -1, .variance = kNan}).ok());
  EXPECT_TRUE(ValidateNoisePolicy(Scaled(1e-300)).ok());
  EXPECT_TRUE(ValidateNoisePolicy(Fixed(0)).ok());
  for (const double scale : {0.0, -1.0, kInfinity, kNan}) {
    const absl::Status status = ValidateNoisePolicy(Scaled(scale));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << scale;
    EXPECT_EQ(ErrorField(status), "noise_scale");
    EXPECT_THAT(std::string(status.message()), HasSubstr("--noise-scale"));
  }
  for (const double variance : {-1e-300, kInfinity, kNan}) {
    const absl::Status status = ValidateNoisePolicy(Fixed(variance));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << variance;
    EXPECT_EQ(ErrorField(status), "noise_variance");
  }
}

// Total minus factor sigma^2, exactly. Catches: standard deviations for variances, factor forgotten or on the wrong
// term, c applied to the injected part only.
TEST(InjectedVarianceTest, ClosesTheTotal) {
  EXPECT_EQ(*InjectedVariance(Calibrated(), 64, 0.25, 1.0), 63.75);
  EXPECT_EQ(*InjectedVariance(Calibrated(), 64, 0.25, 0.5), 63.875);
  EXPECT_EQ(*InjectedVariance(Scaled(10), 64, 0.25, 1.0), 639.75);
  EXPECT_EQ(*InjectedVariance(Scaled(0.125), 64, 8.0, 1.0), 0.0);
  EXPECT_EQ(*InjectedVariance(Fixed(3.5), 64, 0.25, 1.0), 3.5);
  EXPECT_EQ(*InjectedVariance(Fixed(3.5), 1, 1e9, 1.0), 3.5);
  EXPECT_EQ(*InjectedVariance(None(), 64, 0.25, 1.0), 0.0);
  EXPECT_EQ(*InjectedVarianceForTotal(7.0, 2.0, 1.5), 4.0);
}

// The edge of the rule: equal is served (no injected noise is then right), one ulp above is refused.
// Catches: a clamp to zero (threats row 23), `<` for `<=`, a NaN passing as "not larger".
TEST(InjectedVarianceTest, RefusesWhatItCannotReachAndNeverClamps) {
  EXPECT_EQ(*InjectedVariance(Calibrated(), 32, 32.0, 1.0), 0.0);
  for (const double residual_variance : {std::nextafter(32.0, 33.0), 33.0, 1e300, kInfinity, kNan}) {
    const absl::Status status = InjectedVariance(Calibrated(), 32, residual_variance, 1.0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << residual_variance;
    EXPECT_EQ(ErrorReason(status), "NOISE_RULE_IMPOSSIBLE");
    EXPECT_EQ(ErrorField(status), "batch_size");
  }
  const absl::Status total = InjectedVarianceForTotal(2.0, 3.0, 1.0).status();
  EXPECT_EQ(total.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorField(total), "total_noise_variance");
}

// Catches: an error message that tells a caller the residual variance, the shortfall or the smallest batch.
TEST(InjectedVarianceTest, MessagesHoldNothingComputedFromTheData) {
  const absl::Status rule = InjectedVariance(Calibrated(), 32, 4321.0, 1.0).status();
  const absl::Status total = InjectedVarianceForTotal(32.0, 4321.0, 1.0).status();
  for (const absl::Status& status : {rule, total}) {
    for (const char* digits : {"4321", "4289", "4.3"})
      EXPECT_THAT(std::string(status.message()), Not(HasSubstr(digits)));
    EXPECT_THAT(std::string(status.message()), HasSubstr("32"));
  }
}

struct SmallestBatchSizeCase {
  const char* name;
  NoisePolicy policy;
  double residual_variance;
  double factor;
  int64_t expected;
};

class SmallestBatchSizeTest : public ::testing::TestWithParam<SmallestBatchSizeCase> {};

// The boundary is exact and agrees with InjectedVariance on both sides.
// Catches: ceil/floor confused, off by one at integers, rounding of needed / c, overflow of the cast.
TEST_P(SmallestBatchSizeTest, IsTheLeastThatWorks) {
  const SmallestBatchSizeCase& c = GetParam();
  const int64_t smallest = SmallestBatchSize(c.policy, c.residual_variance, [&](int64_t) { return c.factor; });
  EXPECT_EQ(smallest, c.expected);
  if (smallest < kLargestInteger) {
    EXPECT_TRUE(InjectedVariance(c.policy, smallest, c.residual_variance, c.factor).ok());
  }
  if (smallest > 1) {
    EXPECT_FALSE(InjectedVariance(c.policy, smallest - 1, c.residual_variance, c.factor).ok());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SmallestBatchSizeTest,
    ::testing::Values(SmallestBatchSizeCase{"Zero", Calibrated(), 0.0, 1.0, 1},
                      SmallestBatchSizeCase{"Standardised", Calibrated(), 0.313, 1.0, 1},
                      SmallestBatchSizeCase{"ExactlyOne", Calibrated(), 1.0, 1.0, 1},
                      SmallestBatchSizeCase{"AboveOne", Calibrated(), std::nextafter(1.0, 2.0), 1.0, 2},
                      SmallestBatchSizeCase{"Exactly32", Calibrated(), 32.0, 1.0, 32},
                      SmallestBatchSizeCase{"Below32", Calibrated(), std::nextafter(32.0, 0.0), 1.0, 32},
                      SmallestBatchSizeCase{"Above32", Calibrated(), std::nextafter(32.0, 33.0), 1.0, 33},
                      SmallestBatchSizeCase{"FactorOneHalf", Calibrated(), 64.0, 0.5, 32},
                      SmallestBatchSizeCase{"FactorAboveOne", Calibrated(), 32.0, 442.0 / 441.0, 33},
                      SmallestBatchSizeCase{"ScaledTen", Scaled(10), 2933.0, 1.0, 294},
                      SmallestBatchSizeCase{"ScaledTenExact", Scaled(10), 2930.0, 1.0, 293},
                      SmallestBatchSizeCase{"ScaledTenth", Scaled(0.1), 3.0, 1.0, 30},
                      SmallestBatchSizeCase{"ScaledThird", Scaled(1.0 / 3.0), 1.0, 1.0, 3},
                      SmallestBatchSizeCase{"Fixed", Fixed(2.0), 1e9, 1.0, 1},
                      SmallestBatchSizeCase{"None", None(), 1e9, 1.0, 1},
                      SmallestBatchSizeCase{"Large", Calibrated(), 1e15 + 1, 1.0, 1000000000000001},
                      SmallestBatchSizeCase{"BeyondIntegers", Calibrated(), 1e30, 1.0, kLargestInteger},
                      SmallestBatchSizeCase{"Infinite", Calibrated(), kInfinity, 1.0, kLargestInteger},
                      SmallestBatchSizeCase{"NotANumber", Calibrated(), kNan, 1.0, kLargestInteger}),
    [](const ::testing::TestParamInfo<SmallestBatchSizeCase>& case_info) { return std::string(case_info.param.name); });

// Without replacement the rows' part shrinks as the batch grows: 1000 rows, sigma^2 = 400, n >= 400 (1000 - n) / 999.
// Catches: the factor of n = 1 taken for every n (400 instead of 286).
TEST(SmallestBatchSizeOfASamplingTest, UsesTheFactorOfEachBatchSize) {
  const auto factor = [](int64_t n) { return SamplingVarianceFactor(Sampling::kWithoutReplacement, 1000, n, 1); };
  const int64_t smallest = SmallestBatchSize(Calibrated(), 400.0, factor);
  EXPECT_EQ(smallest, 286);
  EXPECT_TRUE(InjectedVariance(Calibrated(), 286, 400.0, factor(286)).ok());
  EXPECT_FALSE(InjectedVariance(Calibrated(), 285, 400.0, factor(285)).ok());
}

}  // namespace
}  // namespace gradoracle
