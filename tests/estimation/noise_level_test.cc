#include "client/estimation/noise_level.h"

#include <utility>
#include <vector>

#include "core/errors.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

OracleInfo Info(NoiseRule rule, std::vector<double> extra = {}, bool probe = false) {
  OracleInfo info;
  info.dimension = 3;
  info.scaling = "raw";
  info.noise.rule = rule;
  if (rule == NoiseRule::kFixed) info.noise.injected_variance = 2;
  if (rule == NoiseRule::kScaled) info.noise.scale = 0.5;
  info.noise.extra_variances = std::move(extra);
  info.noise.curvature_probe = probe;
  return info;
}

// Would catch: small and large mixed up, or an extra level asked for that is worse than the rule.
TEST(NoiseLevel, TakesTheSmallestForMeansAndTheLargestForCurvature) {
  EXPECT_EQ(SmallestNoiseLevel(Info(NoiseRule::kCalibrated), 100).total, 100);
  EXPECT_EQ(SmallestNoiseLevel(Info(NoiseRule::kCalibrated, {5, 1, 900}), 100).requested, 1);
  EXPECT_EQ(SmallestNoiseLevel(Info(NoiseRule::kScaled, {90}), 100).requested, std::nullopt);
  EXPECT_EQ(SmallestNoiseLevel(Info(NoiseRule::kNone, {1}), 100).requested, std::nullopt);
  EXPECT_EQ(SmallestNoiseLevel(Info(NoiseRule::kFixed, {1}), 100).requested, 1);
  EXPECT_EQ(SmallestNoiseLevel(Info(NoiseRule::kFixed, {3}), 100).total, std::nullopt);

  EXPECT_TRUE(CurvatureNoiseLevel(Info(NoiseRule::kNone, {}, true), 100, {})->curvature_probe);
  EXPECT_EQ(CurvatureNoiseLevel(Info(NoiseRule::kCalibrated, {1, 900}), 100, {})->requested, 900);
  EXPECT_EQ(CurvatureNoiseLevel(Info(NoiseRule::kCalibrated, {1}), 100, {})->requested, std::nullopt);
  EXPECT_EQ(CurvatureNoiseLevel(Info(NoiseRule::kNone), 100, 3.0)->total, 3.0);
  EXPECT_EQ(ErrorReason(CurvatureNoiseLevel(Info(NoiseRule::kNone), 100, {}).status()), "TOTAL_NOISE_VARIANCE_UNKNOWN");
  OracleInfo standardised = Info(NoiseRule::kNone);
  standardised.scaling = "standardised";
  EXPECT_TRUE(CurvatureNoiseLevel(standardised, 100, {}).ok());
}

// Would catch: the caller's word taken against the oracle's own, or a level that was named not asked for.
TEST(NoiseLevel, WhatIsGivenMustAgree) {
  const auto reason = [](const OracleInfo& info, double given) {
    return ErrorReason(CurvatureNoiseLevel(info, 100, given).status()).value_or("");
  };
  EXPECT_EQ(reason(Info(NoiseRule::kCalibrated), 99), "TOTAL_NOISE_VARIANCE_CONTRADICTS");
  EXPECT_EQ(reason(Info(NoiseRule::kCalibrated), 100), "");
  EXPECT_EQ(reason(Info(NoiseRule::kScaled), 100), "TOTAL_NOISE_VARIANCE_CONTRADICTS");
  EXPECT_EQ(reason(Info(NoiseRule::kCalibrated, {}, true), 99), "TOTAL_NOISE_VARIANCE_CONTRADICTS");
  EXPECT_EQ(reason(Info(NoiseRule::kFixed), 99), "");
  EXPECT_EQ(CurvatureNoiseLevel(Info(NoiseRule::kCalibrated, {300, 900}), 100, 300.0)->requested, 300);
  EXPECT_EQ(CurvatureNoiseLevel(Info(NoiseRule::kCalibrated, {300, 900}), 100, 100.0)->requested, 900);
}

}  // namespace
}  // namespace gradoracle
