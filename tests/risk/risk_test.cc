#include <cmath>
#include <memory>
#include <random>
#include <string>

#include "client/risk/risk_estimate.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/grids/grid_oracle.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

struct Exact {
  double standard = 0;
  double adversarial = 0;
  double excess = 0;
};

// What the owner can compute: max over ||delta|| <= e of (r - delta'w)^2 is (|r| + e ||w||_dual)^2.
Exact Truth(const LocalOracle& oracle, const Eigen::VectorXd& weights, double shift) {
  const Eigen::ArrayXd residuals = (oracle.data().features * weights - oracle.data().targets).array();
  return {residuals.square().mean(), (residuals.abs() + shift).square().mean(), ExcessRiskOf(oracle, weights)};
}

bool Holds(const Interval& interval, double truth) { return interval.lower <= truth && truth <= interval.upper; }

OracleOptions SmallNoiseAndProbe() {
  OracleOptions options;
  options.extra_noise_variances = {1};
  options.curvature_probe = true;
  return options;
}

std::unique_ptr<LocalOracle> Oracle(const OracleOptions& options) {
  return OrDie(LocalOracle::FromData(GaussianData(3000, 5, 10, 1), options));
}

RiskOptions Options(int64_t count = 4000) {
  RiskOptions options;
  options.radius = 0.1;
  options.batch_size = 128;
  options.count = count;
  return options;
}

// Would catch: a wrong dual norm, a missing factor 2, an interval that does not hold the value. Against the maximum
// itself, found by trying the attack that the dual norm says is the worst.
TEST(AdversarialRisk, IsTheRiskUnderTheWorstAttack) {
  const Eigen::Vector3d weights(3, -4, 0);
  EXPECT_DOUBLE_EQ(DualNorm(weights, AttackNorm::kL2), 5);
  EXPECT_DOUBLE_EQ(DualNorm(weights, AttackNorm::kLinf), 7);
  // Attack in the l-infinity ball of radius .5: delta = -.5 sign(r) sign(w) moves r = 2 to 2 + 3.5.
  const Eigen::Vector3d attack = -0.5 * weights.cwiseSign();
  EXPECT_DOUBLE_EQ(std::pow(2 - attack.dot(weights), 2), std::pow(2 + 0.5 * DualNorm(weights, AttackNorm::kLinf), 2));

  const Interval risk = AdversarialRisk({4, 1, 9}, 0.1, 5, 4);
  EXPECT_DOUBLE_EQ(risk.value, 4 + 2 * 0.5 * 2 * std::sqrt(2 / M_PI) + 0.25);
  EXPECT_DOUBLE_EQ(risk.lower, 1 + 2 * 0.5 * 0.5 + 0.25);  // kurtosis 4: E|r| >= s/2
  EXPECT_DOUBLE_EQ(risk.upper, 9 + 2 * 0.5 * 3 + 0.25);
  // Kurtosis 1 is |r| = s, of which the Gaussian value would be no lower end.
  EXPECT_LE(AdversarialRisk({4, 4, 4}, 0.1, 5, 1).lower, AdversarialRisk({4, 4, 4}, 0.1, 5, 1).value);
  EXPECT_EQ(*ParseAttackNorm("linf"), AttackNorm::kLinf);
  EXPECT_EQ(ErrorReason(ParseAttackNorm("l1").status()), "ATTACK_NORM_UNKNOWN");
}

// Would catch: a wrong sign or factor anywhere, an interval too narrow. At level .95 each truth lies inside in 38 of 40
// seeds on average; fewer than 29 has probability below 1e-7 for a true coverage of .93. Small noise, and one level.
TEST(EstimateRisk, IntervalsHoldTheTruth) {
  OracleOptions one_level;
  for (const OracleOptions& policy : {SmallNoiseAndProbe(), one_level}) {
    const std::unique_ptr<LocalOracle> oracle = Oracle(policy);
    const Eigen::VectorXd weights = 0.5 * oracle->fit().weights;
    const Exact exact = Truth(*oracle, weights, 0.1 * weights.norm());
    int standard = 0, adversarial = 0, excess = 0, residual = 0;
    double sum = 0;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
      LocalGradientSource source(oracle.get(), SeededKeys(seed));
      const RiskEstimate estimate = OrDie(EstimateRisk(source, weights, Options()));
      EXPECT_EQ(estimate.gradients, 4000);
      standard += Holds(estimate.standard_risk, exact.standard) ? 1 : 0;
      adversarial += Holds(estimate.adversarial_risk, exact.adversarial) ? 1 : 0;
      excess += Holds(estimate.excess_risk, exact.excess) ? 1 : 0;
      residual += Holds(estimate.residual_variance, oracle->fit().residual_variance) ? 1 : 0;
      sum += estimate.standard_risk.value / exact.standard;
    }
    EXPECT_GE(standard, 29);
    EXPECT_GE(adversarial, 38);
    EXPECT_GE(excess, 29);
    EXPECT_GE(residual, 29);
    EXPECT_NEAR(sum / 40, 1, 0.05);
  }
}

// Would catch: the excess risk of w = w* not bias-corrected (it would be d tau^2/(2 n m)), and a negative one.
TEST(EstimateRisk, TheOptimumHasNoExcessRisk) {
  const std::unique_ptr<LocalOracle> oracle = Oracle(SmallNoiseAndProbe());
  double sum = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    LocalGradientSource source(oracle.get(), SeededKeys(seed));
    const RiskEstimate estimate = OrDie(EstimateRisk(source, oracle->fit().weights, Options()));
    EXPECT_EQ(estimate.excess_risk.lower, 0);
    EXPECT_GE(estimate.excess_risk.value, 0);
    sum += estimate.excess_risk.value;
  }
  EXPECT_LT(sum / 10, 5.0 / (2 * 128 * 1500));
}

// Would catch: a unit target variance assumed where it is not, or wrong use of the one that is given.
TEST(EstimateRisk, RawUnitsNeedTheTargetsSecondMoment) {
  OracleOptions raw = SmallNoiseAndProbe();
  raw.standardise = false;
  raw.extra_noise_variances = {1.5};
  const std::unique_ptr<LocalOracle> oracle = Oracle(raw);
  const Eigen::VectorXd weights = 0.5 * oracle->fit().weights;
  LocalGradientSource source(oracle.get(), SeededKeys(1));
  RiskOptions options = Options();
  const absl::Status status = EstimateRisk(source, weights, options).status();
  EXPECT_EQ(ErrorReason(status), "TARGET_SECOND_MOMENT_UNKNOWN");
  EXPECT_THAT(std::string(status.message()), HasSubstr("--target-second-moment"));
  options.target_second_moment = oracle->data().targets.squaredNorm() / 3000;
  const RiskEstimate estimate = OrDie(EstimateRisk(source, weights, options));
  EXPECT_NEAR(estimate.standard_risk.value / Truth(*oracle, weights, 0).standard, 1, 0.05);
}

// Would catch: any of the checks gone, and an interruption taken for an answer.
TEST(EstimateRisk, BadInputIsRefused) {
  const std::unique_ptr<LocalOracle> oracle = Oracle(SmallNoiseAndProbe());
  LocalGradientSource source(oracle.get(), SeededKeys(1));
  const auto reason = [&](const RiskOptions& options, int64_t dimension = 5) {
    return ErrorReason(EstimateRisk(source, Eigen::VectorXd::Ones(dimension), options).status()).value_or("");
  };
  EXPECT_EQ(reason(Options(), 4), "WEIGHTS_DIMENSION");
  EXPECT_EQ(reason(Options(1)), "COUNT_TOO_SMALL");
  EXPECT_EQ(reason(Options(0)), "COUNT_NOT_POSITIVE");
  EXPECT_EQ(reason(Options(67)), "COUNT_TOO_SMALL");
  EXPECT_EQ(reason(Options(68)), "");
  RiskOptions options = Options();
  options.radius = -1;
  EXPECT_EQ(reason(options), "RADIUS_NEGATIVE");
  options = Options();
  options.largest_kurtosis = 0.5;
  EXPECT_EQ(reason(options), "LARGEST_KURTOSIS_OUT_OF_RANGE");
  options = Options();
  options.level = 1;
  EXPECT_EQ(reason(options), "LEVEL_OUT_OF_RANGE");
  options = Options();
  options.batch_size = 0;
  EXPECT_EQ(reason(options), "BATCH_SIZE_NOT_POSITIVE");
  options = Options();
  options.total_noise_variance = 2;  // the rule says 128
  EXPECT_EQ(reason(options), "TOTAL_NOISE_VARIANCE_CONTRADICTS");
  options = Options();
  options.watch = [](int64_t) { return false; };
  EXPECT_EQ(reason(options), "INTERRUPTED");
}

// Observed variance over the mean of the variances that the intervals state.
struct Spread {
  double sum = 0;
  double squares = 0;
  double stated = 0;
  int64_t runs = 0;

  void Add(const Interval& interval, double quantile) {
    sum += interval.value;
    squares += interval.value * interval.value;
    stated += std::pow((interval.upper - interval.value) / quantile, 2);
    ++runs;
  }
  double Ratio() const {
    const double n = static_cast<double>(runs);
    return (squares - sum * sum / n) / (n - 1) / (stated / n);
  }
};

// Would catch: a term of the variance lost, doubled, or divided by the wrong count: the intervals would hold too often
// or too seldom by less than IntervalsHoldTheTruth sees. The observed variance of 200 runs has a relative standard
// deviation of sqrt(2/199) = 10 %; 40 % is 4 of them (the seeds are fixed). Few gradients for the curvature, where the
// inverse errs most, and many. With a diagonal that is known, and imposed, and without.
TEST(EstimateRisk, StatedVariancesAreThoseOfTheRuns) {
  constexpr double kQuantile = 1.959963984540054;
  for (const bool standardise : {false, true}) {
    OracleOptions policy = SmallNoiseAndProbe();
    policy.standardise = standardise;
    policy.extra_noise_variances = {1.5};
    const std::unique_ptr<LocalOracle> oracle = Oracle(policy);
    // Neither at zero, where the standard risk is known, nor at the optimum, where no negative excess risk is told.
    const Eigen::VectorXd part = 0.3 * oracle->fit().weights;
    const Eigen::VectorXd elsewhere = Eigen::VectorXd::LinSpaced(5, -0.2, 0.3);
    for (const Eigen::VectorXd& weights : {part, elsewhere}) {
      for (const int64_t count : {200, 1000}) {
        RiskOptions options = Options(count);
        options.target_second_moment = oracle->data().targets.squaredNorm() / 3000;
        Spread standard, excess;
        for (uint64_t seed = 1; seed <= 200; ++seed) {
          LocalGradientSource source(oracle.get(), SeededKeys(seed));
          const RiskEstimate estimate = OrDie(EstimateRisk(source, weights, options));
          standard.Add(estimate.standard_risk, kQuantile);
          excess.Add(estimate.excess_risk, kQuantile);
        }
        EXPECT_NEAR(standard.Ratio(), 1, 0.4) << "standardise " << standardise << ", count " << count;
        EXPECT_NEAR(excess.Ratio(), 1, 0.4) << "standardise " << standardise << ", count " << count;
      }
    }
  }
}

// Would catch: a covariance of 10^13 entries allocated before it is refused.
TEST(EstimateRisk, MemoryIsCheckedBeforeItIsTaken) {
  class Huge : public GradientSource {
   public:
    absl::StatusOr<OracleInfo> Info() override {
      OracleInfo info;
      info.dimension = 4'000'000;
      info.row_count = 1000;
      info.scaling = "standardised";
      return info;
    }
    absl::Status Gradients(const GradientQuery&, GradientSink) override { return absl::UnavailableError("asked"); }
  };
  Huge huge;
  const absl::Status status = EstimateRisk(huge, Eigen::VectorXd::Zero(4'000'000), Options(20'000'000)).status();
  EXPECT_EQ(ErrorReason(status), "MEMORY_EXCEEDED");
}

}  // namespace
}  // namespace gradoracle
