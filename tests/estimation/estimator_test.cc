// The estimators as callers meet them: what they ask for, choose, say and refuse. Whether their limits cover is
// estimator_limit_test's matter.
#include "client/estimation/estimator.h"

#include <random>
#include <string>
#include <vector>

#include "client/estimation/noise_choice.h"
#include "core/error_norm.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/estimation/population_source.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kDimension = 8;
constexpr int64_t kBatchSize = 64;
constexpr Estimator kAll[] = {Estimator::kAuto,  Estimator::kCovariance, Estimator::kCorrected, Estimator::kTwoLevel,
                              Estimator::kProbe, Estimator::kActive,     Estimator::kWarmUp};

class EstimatorTest : public ::testing::Test {
 protected:
  EstimatorTest() {
    source_.info.noise.extra_variances = {100.0 * kBatchSize};
    source_.info.noise.curvature_probe = true;
    options_.weights = optimum_;
    options_.batch_size = kBatchSize;
    options_.count = 2048;
  }

  void StartAt(double distance) { options_.weights = PointAt(sigma_, optimum_, distance * kBatchSize); }
  void AllowNothing() {
    source_.info.noise = {};
    source_.info.limits.max_weights_norm = 3 * std::sqrt(static_cast<double>(kBatchSize));
  }
  absl::StatusOr<HessianEstimate> Run(Estimator estimator) {
    options_.estimator = estimator;
    source_.queries.clear();
    return EstimateHessian(source_, options_, generator_);
  }
  std::string Refusal(Estimator estimator) {
    const absl::StatusOr<HessianEstimate> estimate = Run(estimator);
    EXPECT_FALSE(estimate.ok());
    return ErrorReason(estimate.status()).value_or("");
  }
  double Error(const HessianEstimate& estimate) const { return *RelativeError(estimate.hessian, sigma_); }

  Eigen::MatrixXd sigma_ = DecayingCorrelation(kDimension, 0.5);
  Eigen::VectorXd optimum_ = Eigen::VectorXd::Constant(kDimension, 0.2);
  PopulationSource source_{sigma_, optimum_, 1};
  EstimationOptions options_;
  std::mt19937_64 generator_{2};
};

TEST(EstimatorName, IsReadBack) {
  for (const Estimator estimator : kAll) EXPECT_EQ(*ParseEstimator(EstimatorName(estimator)), estimator);
  EXPECT_EQ(ErrorReason(ParseEstimator("oas").status()), "ESTIMATOR_UNKNOWN");
}

// Catches: more gradients than asked for, spent or reported; a request outside a limit (the source checks each).
TEST_F(EstimatorTest, NoneSpendsMoreThanItMay) {
  for (const bool far : {false, true}) {
    StartAt(far ? 4 : 0);
    for (const int64_t count : {512, 1001, 2048}) {
      options_.count = count;
      for (const Estimator estimator : kAll) {
        if (far && estimator == Estimator::kCorrected) continue;
        const absl::StatusOr<HessianEstimate> estimate = Run(estimator);
        ASSERT_TRUE(estimate.ok()) << EstimatorName(estimator) << ": " << estimate.status();
        EXPECT_EQ(estimate->gradients, source_.asked());
        EXPECT_LE(estimate->gradients, count);
        EXPECT_GE(estimate->gradients, count - 1);  // pairs
      }
    }
  }
}

// m together above the limit of one request: refused before anything is drawn.
TEST_F(EstimatorTest, SeveralRequestsCountTogether) {
  source_.info.limits.max_count = options_.count - 1;
  for (const Estimator estimator : kAll) {
    EXPECT_EQ(Refusal(estimator), "COUNT_TOO_LARGE");
    EXPECT_EQ(source_.asked(), 0);
  }
}

// Every one that claims to be right far away is: the error is the sampling's, 0.05 to 0.2 here, not the bias's, 4 and
// more; and covariance, which does not claim it, is not.
TEST_F(EstimatorTest, DistanceIsNoBias) {
  options_.count = 8192;
  options_.impose_unit_diagonal = false;
  StartAt(4);
  for (const Estimator estimator : {Estimator::kTwoLevel, Estimator::kProbe, Estimator::kActive, Estimator::kWarmUp}) {
    const absl::StatusOr<HessianEstimate> estimate = Run(estimator);
    ASSERT_TRUE(estimate.ok()) << estimate.status();
    EXPECT_EQ(estimate->estimator, estimator);
    EXPECT_LT(Error(*estimate), 0.2) << EstimatorName(estimator);
    EXPECT_TRUE(estimate->not_converged.empty()) << EstimatorName(estimator);
  }
  const HessianEstimate plain = *Run(Estimator::kCovariance);
  EXPECT_GT(Error(plain), 3);
  ASSERT_EQ(plain.not_converged.size(), kDimension);
  EXPECT_NEAR(plain.not_converged[3].excess, plain.hessian(3, 3) - 1, 1e-12);
}

// Half-way out, kappa below 1/4: the correction takes the bias of 0.2 and more away.
TEST_F(EstimatorTest, CorrectionHelpsGaussianFeatures) {
  options_.count = 16384;
  options_.impose_unit_diagonal = false;
  StartAt(0.2);
  EXPECT_GT(Error(*Run(Estimator::kCovariance)), 0.2);
  EXPECT_LT(Error(*Run(Estimator::kCorrected)), 0.08);
  StartAt(4);
  EXPECT_EQ(Refusal(Estimator::kCorrected), "CORRECTION_REFUSED");
  options_.count = kDimension + 2;
  EXPECT_EQ(Refusal(Estimator::kCorrected), "TOO_FEW_GRADIENTS");
  EXPECT_EQ(source_.asked(), 0);
}

// The rule, policy by policy, and that it says why.
TEST_F(EstimatorTest, RuleFollowsWhatIsAllowedAndSeen) {
  const auto chosen = [this](const std::string& why) {
    const absl::StatusOr<HessianEstimate> estimate = Run(Estimator::kAuto);
    EXPECT_TRUE(estimate.ok()) << estimate.status();
    EXPECT_THAT(estimate->reason, HasSubstr(why));
    EXPECT_TRUE(estimate->unit_diagonal);
    EXPECT_LT(Error(*estimate), 0.3);
    return estimate->estimator;
  };
  EXPECT_EQ(chosen("designed weights of norm 100"), Estimator::kActive);
  source_.info.limits.max_weights_norm = 24;  // R^2 = 9n
  EXPECT_EQ(chosen("curvature probe is offered"), Estimator::kProbe);
  source_.info.noise.curvature_probe = false;
  EXPECT_EQ(chosen("large noise is offered"), Estimator::kProbe);
  AllowNothing();
  EXPECT_EQ(chosen("excess"), Estimator::kCovariance);
  EXPECT_EQ(source_.queries.size(), 2);  // the pilot's gradients count in the covariance
  StartAt(4);
  EXPECT_EQ(chosen("points led to where"), Estimator::kWarmUp);
  source_.info.limits.max_weights_norm = 100;
  EXPECT_EQ(chosen("designed weights"), Estimator::kActive);
  AllowNothing();
  options_.count = 200;
  EXPECT_EQ(Run(Estimator::kAuto)->estimator, Estimator::kCovariance);
  EXPECT_EQ(source_.queries.size(), 1);
}

// Raw units: the diagonal is not known, so neither imposed nor watched; a design tells the trace.
TEST_F(EstimatorTest, RawUnitsHaveNoUnitDiagonal) {
  source_.info.scaling = "raw";
  for (const Estimator estimator : {Estimator::kAuto, Estimator::kProbe, Estimator::kActive, Estimator::kCovariance}) {
    const absl::StatusOr<HessianEstimate> estimate = Run(estimator);
    ASSERT_TRUE(estimate.ok()) << estimate.status();
    EXPECT_FALSE(estimate->unit_diagonal);
    EXPECT_TRUE(estimate->not_converged.empty());
  }
  EXPECT_EQ(Refusal(Estimator::kWarmUp), "UNIT_DIAGONAL_UNKNOWN");
  AllowNothing();
  StartAt(4);
  EXPECT_EQ(Run(Estimator::kAuto)->estimator, Estimator::kCovariance);
}

TEST_F(EstimatorTest, UnitDiagonalCanBeSwitchedOff) {
  for (const Estimator estimator : kAll) {
    options_.impose_unit_diagonal = true;
    const HessianEstimate imposed = *Run(estimator);
    EXPECT_TRUE(imposed.unit_diagonal);
    EXPECT_EQ(imposed.hessian.diagonal(), Eigen::VectorXd::Ones(kDimension));
    EXPECT_NE(imposed.raw_diagonal, imposed.hessian.diagonal());
    options_.impose_unit_diagonal = false;
    const HessianEstimate plain = *Run(estimator);
    EXPECT_FALSE(plain.unit_diagonal);
    EXPECT_EQ(plain.raw_diagonal, plain.hessian.diagonal());
  }
}

// Two levels so near that the difference is noise: a diagonal entry may be negative, and nothing is scaled by it.
TEST_F(EstimatorTest, NoUnitDiagonalFromANegativeOne) {
  source_.info.noise.extra_variances = {1.01 * kBatchSize};
  const HessianEstimate estimate = *Run(Estimator::kTwoLevel);
  EXPECT_LT(estimate.raw_diagonal.minCoeff(), 0.25);
  EXPECT_FALSE(estimate.unit_diagonal);
}

TEST_F(EstimatorTest, WhatIsNotOfferedIsRefused) {
  AllowNothing();
  EXPECT_EQ(Refusal(Estimator::kProbe), "CURVATURE_PROBE_NOT_OFFERED");
  EXPECT_EQ(Refusal(Estimator::kTwoLevel), "EXTRA_NOISE_NOT_OFFERED");
  options_.count = 4 * kDimension - 1;
  EXPECT_EQ(Refusal(Estimator::kActive), "TOO_FEW_GRADIENTS");
  options_.count = 511;
  EXPECT_EQ(Refusal(Estimator::kWarmUp), "TOO_FEW_GRADIENTS");
  source_.info.noise.rule = NoiseRule::kNone;
  EXPECT_EQ(Refusal(Estimator::kAuto), "MISSING");
  EXPECT_EQ(source_.asked(), 0);
  source_.info.noise.curvature_probe = true;
  EXPECT_EQ(Run(Estimator::kAuto)->estimator, Estimator::kProbe);  // needs no tau^2
}

// Stopped after the first block of 128, half-way and late: an estimate or an honest error, never more gradients.
TEST_F(EstimatorTest, StoppingLeavesWhatCanBeHad) {
  AllowNothing();
  StartAt(4);
  for (const Estimator estimator : {Estimator::kAuto, Estimator::kCovariance, Estimator::kWarmUp, Estimator::kActive}) {
    for (const int64_t until : {1, 300, 1000, 2000}) {
      options_.progress = [until](int64_t gathered) { return gathered < until; };
      const absl::StatusOr<HessianEstimate> estimate = Run(estimator);
      if (!estimate.ok()) {
        EXPECT_EQ(ErrorReason(estimate.status()), "INTERRUPTED");
        EXPECT_TRUE((estimator == Estimator::kWarmUp && until <= 300) ||
                    (estimator == Estimator::kActive && until <= 300))
            << EstimatorName(estimator) << " " << until;
        continue;
      }
      EXPECT_GE(estimate->gradients, until);
      EXPECT_LT(estimate->gradients, until + 300);
    }
  }
}

}  // namespace
}  // namespace gradoracle
