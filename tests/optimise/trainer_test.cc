#include "client/optimise/trainer.h"

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "Eigen/Cholesky"
#include "core/error_norm.h"
#include "core/errors.h"
#include "core/least_squares.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/grids/grid_oracle.h"

namespace gradoracle {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kBatchSize = 256;

// An oracle with a seeded stream of requests. Answers fewer than `refuse_after` requests.
class SeededOracle : public GradientSource {
 public:
  SeededOracle(RegressionData data, const OracleOptions& options, uint64_t seed)
      : oracle_(OrDie(LocalOracle::FromData(std::move(data), options))), source_(oracle_.get(), SeededKeys(seed)) {}

  absl::StatusOr<OracleInfo> Info() override {
    OracleInfo info = oracle_->info();
    if (!loss.empty()) info.loss = loss;
    return info;
  }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    if (requests++ >= refuse_after) return refusal;
    return source_.Gradients(query, sink);
  }
  const LocalOracle& oracle() const { return *oracle_; }

  std::string loss;
  int64_t requests = 0;
  int64_t refuse_after = INT64_MAX;
  absl::Status refusal = absl::ResourceExhaustedError("budget spent");

 private:
  std::unique_ptr<LocalOracle> oracle_;
  LocalGradientSource source_;
};

OracleOptions RawSmallNoise() {
  OracleOptions options;
  options.standardise = false;
  options.max_weights_norm = 1e6;
  options.extra_noise_variances = {1.5};
  return options;
}

Trainer Make(SeededOracle& oracle, TrainingOptions options) {
  if (options.batch_size == 0) options.batch_size = kBatchSize;
  return OrDie(Trainer::Create({{"a", &oracle}}, options));
}

absl::Status Refused(SeededOracle& first, SeededOracle& second) {
  TrainingOptions options;
  options.batch_size = kBatchSize;
  return Trainer::Create({{"east", &first}, {"west", &second}}, options).status();
}

// Would catch: a wrong stop, noise level or average: the excess risk would miss the target, or the count would not be
// of the order of the information limit. d = 20, 8 seeds; the floor for .002 is 20 * 1.5/(2 * 256 * .002) = 29
// gradients, the transient dominates. Excess risk after a stop at the target has mean about the target; 3 times it is
// generous.
TEST(Trainer, ReachesTheTargetWhateverTheConditionNumber) {
  for (const double condition : {10.0, 1e5}) {
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      SeededOracle oracle(GaussianData(4000, 20, condition, 1), RawSmallNoise(), seed);
      TrainingOptions options;
      options.method = TrainingMethod::kMixed;
      options.target_excess_risk = 0.002;
      Trainer trainer = Make(oracle, options);
      ASSERT_TRUE(trainer.Run().ok());
      const TrainingResult& result = trainer.result();
      EXPECT_EQ(result.stop, TrainingStop::kTargetReached);
      EXPECT_LE(result.gradients, 80 + 4 * 29 + 100) << condition;
      EXPECT_LE(ExcessRiskOf(oracle.oracle(), result.weights), 3 * 0.002) << condition;
      EXPECT_LE(*result.excess_risk.estimate, 0.002);
      EXPECT_GE(*result.excess_risk.upper, *result.excess_risk.estimate);
      EXPECT_EQ(result.curvature_gradients, 80);
    }
  }
}

// Would catch: shares not by row_count (equal shares are 17 times off here), a wrong pooled Hessian (no convergence).
// Two oracles of 3000 and 500 rows with different features' laws and different true weights: pooled least squares is
// neither's own solution, nor their mean. The excess risk of a stop at 1e-3 has mean about 1e-3.
TEST(Trainer, PooledOraclesGiveThePooledLeastSquares) {
  const RegressionData large = GaussianData(3000, 6, 10, 1);
  const RegressionData small = GaussianData(500, 6, 100, 2);
  RegressionData all = large;
  all.features.resize(3500, 6);
  all.features << large.features, small.features;
  all.targets.resize(3500);
  all.targets << large.targets, small.targets;
  const LeastSquaresFit fit = OrDie(FitLeastSquares(all));
  const auto excess = [&](const Eigen::VectorXd& weights) {
    const Eigen::VectorXd difference = weights - fit.weights;
    return 0.5 * difference.dot(fit.hessian * difference);
  };
  const Eigen::MatrixXd unweighted =
      large.features.transpose() * large.features / 3000 + small.features.transpose() * small.features / 500;
  const Eigen::VectorXd equal_shares = unweighted.ldlt().solve(large.features.transpose() * large.targets / 3000 +
                                                               small.features.transpose() * small.targets / 500);
  ASSERT_GT(excess(equal_shares), 0.02);

  for (const TrainingMethod method : {TrainingMethod::kMixed, TrainingMethod::kNewton, TrainingMethod::kSgd}) {
    SeededOracle first(large, RawSmallNoise(), 11);
    SeededOracle second(small, RawSmallNoise(), 12);
    TrainingOptions options;
    options.batch_size = kBatchSize;
    options.method = method;
    options.target_excess_risk = 1e-3;
    options.count = 8000;
    Trainer trainer = OrDie(Trainer::Create({{"east", &first}, {"west", &second}}, options));
    ASSERT_TRUE(trainer.Run().ok());
    EXPECT_LT(excess(trainer.result().weights), 4e-3) << TrainingMethodName(method);
    EXPECT_EQ(trainer.result().gradients % 2, 0);
    EXPECT_LE(trainer.result().gradients, 8000);
  }
}

// Would catch: a disagreement that trains on, or a message that does not say who and what.
TEST(Trainer, OraclesThatDisagreeAreNamed) {
  SeededOracle first(GaussianData(400, 3, 2, 1), RawSmallNoise(), 1);
  SeededOracle wider(GaussianData(400, 4, 2, 1), RawSmallNoise(), 1);
  EXPECT_THAT(std::string(Refused(first, wider).message()),
              AllOf(HasSubstr("east"), HasSubstr("west"), HasSubstr("dimension 3 and 4")));
  SeededOracle other_loss(GaussianData(400, 3, 2, 1), RawSmallNoise(), 1);
  other_loss.loss = "logistic";
  EXPECT_THAT(std::string(Refused(first, other_loss).message()), HasSubstr("loss half_mean_squared_residual and"));
  SeededOracle standardised(GaussianData(400, 3, 2, 1), OracleOptions(), 1);
  SeededOracle too(GaussianData(500, 3, 2, 2), OracleOptions(), 1);
  EXPECT_EQ(ErrorReason(Refused(first, standardised)), "ORACLES_DISAGREE");
  EXPECT_EQ(ErrorField(Refused(first, standardised)), "scaling");
  EXPECT_THAT(std::string(Refused(standardised, too).message()), HasSubstr("each standardised its own rows"));
}

// Would catch: a divergence that goes unseen, unmended or unsaid. A step of 50 Newton steps explodes at once.
TEST(Trainer, TooLongAStepIsMendedAndSaid) {
  SeededOracle oracle(GaussianData(4000, 5, 10, 1), RawSmallNoise(), 3);
  TrainingOptions options;
  options.method = TrainingMethod::kMixed;
  options.step_size = 50;
  options.target_excess_risk = 0.01;
  Trainer trainer = Make(oracle, options);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_THAT(trainer.result().warning, HasSubstr("grew instead of shrinking"));
  EXPECT_EQ(trainer.result().stop, TrainingStop::kTargetReached);
  EXPECT_LT(ExcessRiskOf(oracle.oracle(), trainer.result().weights), 0.04);
}

// Would catch: a count that is overspent, or a stop that claims the target.
TEST(Trainer, SpendsNoMoreThanTheCount) {
  for (const TrainingMethod method : {TrainingMethod::kSgd, TrainingMethod::kPreconditioned, TrainingMethod::kNewton,
                                      TrainingMethod::kMixed, TrainingMethod::kAuto}) {
    SeededOracle oracle(GaussianData(2000, 5, 10, 1), RawSmallNoise(), 4);
    TrainingOptions options;
    options.method = method;
    options.count = 101;
    Trainer trainer = Make(oracle, options);
    ASSERT_TRUE(trainer.Run().ok()) << TrainingMethodName(method);
    EXPECT_EQ(trainer.result().stop, TrainingStop::kCountSpent);
    EXPECT_LE(trainer.result().gradients, 101);
    EXPECT_GT(trainer.result().gradients, 101 - 64);
    EXPECT_FALSE(trainer.result().record.empty());
  }
}

// Would catch: more spent than the count when it does not even pay for a step size.
TEST(Trainer, RefusesACountWithoutASingleStep) {
  for (const int64_t count : {1, 2, 3}) {
    SeededOracle oracle(GaussianData(2000, 5, 10, 1), RawSmallNoise(), 4);
    TrainingOptions options;
    options.method = TrainingMethod::kSgd;
    options.count = count;
    Trainer trainer = Make(oracle, options);
    const absl::Status status = trainer.Run();
    EXPECT_EQ(status.ok(), count == 3) << status;
    if (!status.ok()) {
      EXPECT_EQ(ErrorReason(status).value_or(""), "COUNT_TOO_SMALL");
    }
    EXPECT_LE(trainer.result().gradients, count);
  }
}

// Would catch: weights lost when the budget ends midway, or an error swallowed.
TEST(Trainer, KeepsWhatItReachedWhenTheOracleRefuses) {
  SeededOracle oracle(GaussianData(2000, 5, 10, 1), RawSmallNoise(), 5);
  oracle.refuse_after = 40;
  TrainingOptions options;
  options.method = TrainingMethod::kMixed;
  options.target_excess_risk = 1e-9;
  Trainer trainer = Make(oracle, options);
  const absl::Status status = trainer.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LT(ExcessRiskOf(oracle.oracle(), trainer.result().weights), 0.1);
  EXPECT_GT(trainer.result().steps, 20);
  // A cancelled source is Ctrl-C: not an error once there is something to keep.
  oracle.requests = 0;
  oracle.refusal = absl::CancelledError("interrupted");
  Trainer again = Make(oracle, options);
  EXPECT_TRUE(again.Run().ok());
  EXPECT_EQ(again.result().stop, TrainingStop::kInterrupted);
}

// Would catch: an `auto` that does not look: it must take mixed where plain steps need 10^5 gradients, and sgd where
// nothing is left for a curvature.
TEST(Trainer, AutoComparesPredictedCounts) {
  SeededOracle oracle(GaussianData(4000, 20, 1e5, 1), RawSmallNoise(), 6);
  TrainingOptions options;
  options.target_excess_risk = 0.002;
  Trainer trainer = Make(oracle, options);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_EQ(trainer.result().method, TrainingMethod::kMixed);
  EXPECT_THAT(trainer.result().reason, HasSubstr("mixed"));
  options.count = 60;
  Trainer poor = Make(oracle, options);
  ASSERT_TRUE(poor.Run().ok());
  EXPECT_EQ(poor.result().method, TrainingMethod::kSgd);
}

// Would catch: a curvature of unknown scale used as if it were known.
TEST(Trainer, UnknownNoiseVarianceIsAskedFor) {
  OracleOptions none;
  none.standardise = false;
  none.noise.rule = NoiseRule::kNone;
  SeededOracle oracle(GaussianData(2000, 4, 2, 1), none, 7);
  TrainingOptions options;
  options.method = TrainingMethod::kMixed;
  Trainer trainer = Make(oracle, options);
  const absl::Status status = trainer.Run();
  EXPECT_EQ(ErrorReason(status), "TOTAL_NOISE_VARIANCE_UNKNOWN");
  EXPECT_THAT(std::string(status.message()), HasSubstr("--total-noise-variance"));
  options.total_noise_variance = 2;  // sigma^2 + q at the start
  options.target_excess_risk = 0.01;
  Trainer told = Make(oracle, options);
  EXPECT_TRUE(told.Run().ok());
  EXPECT_LT(ExcessRiskOf(oracle.oracle(), told.result().weights), 0.04);
}

// Would catch: any of the checks gone.
TEST(Trainer, BadOptionsAreRefused) {
  SeededOracle oracle(GaussianData(200, 3, 2, 1), RawSmallNoise(), 1);
  const auto reason = [&](TrainingOptions options) {
    return ErrorReason(Trainer::Create({{"a", &oracle}}, options).status()).value_or("");
  };
  EXPECT_EQ(reason({}), "BATCH_SIZE_NOT_POSITIVE");
  TrainingOptions options;
  options.batch_size = kBatchSize;
  options.count = 0;
  EXPECT_EQ(reason(options), "COUNT_NOT_POSITIVE");
  options.count.reset();
  options.target_excess_risk = 0;
  EXPECT_EQ(reason(options), "TARGET_EXCESS_RISK_NOT_POSITIVE");
  options.target_excess_risk.reset();
  options.start = Eigen::VectorXd::Zero(2);
  EXPECT_EQ(reason(options), "WEIGHTS_DIMENSION");
  EXPECT_EQ(ErrorReason(Trainer::Create({}, options).status()), "NO_ORACLE");
  options.start.reset();
  // The oracle says its rule's and offers 1.5; anything else is a misunderstanding, whatever the method.
  options.total_noise_variance = 2;
  for (const TrainingMethod method : {TrainingMethod::kSgd, TrainingMethod::kMixed}) {
    options.method = method;
    EXPECT_EQ(reason(options), "TOTAL_NOISE_VARIANCE_CONTRADICTS");
  }
  options.total_noise_variance.reset();
  options.count = 10;
  options.method = TrainingMethod::kMixed;
  Trainer trainer = Make(oracle, options);
  EXPECT_EQ(ErrorReason(trainer.Run()), "COUNT_TOO_SMALL");
}

// Catches: weights, risk or metric of a descent that diverged kept or believed. The oracle refuses the first request
// after the restart: nothing better than the start has been learnt.
TEST(Trainer, NothingOfADivergedDescentIsKept) {
  TrainingOptions options;
  options.method = TrainingMethod::kMixed;
  options.step_size = 50;
  options.target_excess_risk = 0.01;
  const Eigen::VectorXd start = Eigen::VectorXd::Constant(5, 0.25);
  options.start = start;
  bool restarted = false;
  for (int64_t requests = 1; requests < 60 && !restarted; ++requests) {
    SeededOracle oracle(GaussianData(4000, 5, 10, 1), RawSmallNoise(), 3);
    oracle.refuse_after = requests;
    Trainer trainer = Make(oracle, options);
    EXPECT_FALSE(trainer.Run().ok());
    restarted = !trainer.result().warning.empty();
    if (!restarted) continue;
    EXPECT_GT(trainer.result().steps, 0);
    EXPECT_EQ(trainer.result().weights, start);
    EXPECT_FALSE(trainer.result().excess_risk.estimate.has_value());
    EXPECT_FALSE(trainer.result().excess_risk.upper.has_value());
    EXPECT_EQ(trainer.result().gradient_norm, 0);
  }
  EXPECT_TRUE(restarted);
}

// Catches: an excess risk measured after a restart by the gradients of the descent that diverged. sgd learns its metric
// from its own gradients, 30 at first; a step barely too long diverges later than that.
TEST(Trainer, SgdForgetsTheMetricItLearntWhileDiverging) {
  OracleOptions small_noise;
  small_noise.extra_noise_variances = {1.5};
  SeededOracle oracle(GaussianData(4000, 3, 2, 1), small_noise, 3);
  const double largest = SpectralNormSymmetric(oracle.oracle().fit().hessian);
  TrainingOptions options;
  options.method = TrainingMethod::kSgd;
  options.step_size = 2.015 / largest;
  options.count = 2000;
  Trainer trainer = Make(oracle, options);
  ASSERT_TRUE(trainer.Run().ok());
  const std::vector<TrainingPoint>& record = trainer.result().record;
  bool measured = false;  // before the restart
  for (size_t i = 1; i < record.size(); ++i) {
    measured = measured || record[i - 1].excess_risk.estimate.has_value();
    if (record[i].step_size == record[i - 1].step_size) continue;
    EXPECT_TRUE(measured) << "diverged before it had a metric: tests nothing";
    EXPECT_FALSE(record[i].excess_risk.estimate.has_value());
    return;
  }
  ADD_FAILURE() << "did not diverge";
}

// An oracle of a dimension whose (d, d) matrices no machine holds.
class HugeOracle : public GradientSource {
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

// Catches: an allocation before its check, which would end the process.
TEST(Trainer, MemoryIsCheckedBeforeItIsTaken) {
  HugeOracle oracle;
  TrainingOptions options;
  options.batch_size = kBatchSize;
  EXPECT_EQ(ErrorReason(Trainer::Create({{"a", &oracle}}, options).status()), "MEMORY_EXCEEDED");
}

// Would catch: an excess risk told of a descent that bounces from end to end of the ball of allowed weights, where its
// gradients are as long as they can be and grow no more. Steps 10 to 10^3 times too long are mended and said; beyond
// what fourteen halvings mend, training has diverged.
TEST(Trainer, SgdThatBouncesIsNoDescent) {
  for (const double step_size : {20.0, 1e3}) {
    SeededOracle oracle(GaussianData(4000, 3, 2, 1), {}, 3);
    TrainingOptions options;
    options.method = TrainingMethod::kSgd;
    options.step_size = step_size;
    options.count = 3000;
    Trainer trainer = Make(oracle, options);
    ASSERT_TRUE(trainer.Run().ok());
    const TrainingResult& result = trainer.result();
    EXPECT_THAT(result.warning, HasSubstr("grew instead of shrinking")) << step_size;
    EXPECT_EQ(result.stop, TrainingStop::kCountSpent) << step_size;
    EXPECT_LT(ExcessRiskOf(oracle.oracle(), result.weights), 0.2) << step_size;
    ASSERT_TRUE(result.excess_risk.estimate.has_value());
    EXPECT_LT(*result.excess_risk.estimate, 0.2);
  }
  SeededOracle oracle(GaussianData(4000, 3, 2, 1), {}, 3);
  TrainingOptions options;
  options.method = TrainingMethod::kSgd;
  options.step_size = 1e9;
  options.count = 3000;
  Trainer trainer = Make(oracle, options);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_EQ(trainer.result().stop, TrainingStop::kDiverged);
  EXPECT_FALSE(trainer.result().excess_risk.estimate.has_value());
}

// Would catch: an optimum outside the ball of allowed weights taken for a divergence.
TEST(Trainer, AnOptimumOutOfReachIsNoBounce) {
  OracleOptions narrow;
  narrow.max_weights_norm = 0.1;
  SeededOracle oracle(GaussianData(4000, 3, 2, 1), narrow, 3);
  ASSERT_GT(oracle.oracle().fit().weights.norm(), 0.3);
  TrainingOptions options;
  options.method = TrainingMethod::kMixed;
  options.count = 2000;
  Trainer trainer = Make(oracle, options);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_EQ(trainer.result().warning, "");
  EXPECT_EQ(trainer.result().stop, TrainingStop::kCountSpent);
}

// Would catch: two oracles with the same rows trained on without a word.
TEST(Trainer, OraclesThatSeemTheSameAreNamed) {
  SeededOracle first(GaussianData(400, 3, 2, 1), RawSmallNoise(), 1);
  SeededOracle same(GaussianData(400, 3, 2, 1), RawSmallNoise(), 2);
  TrainingOptions options;
  options.batch_size = kBatchSize;
  options.count = 200;
  Trainer trainer = OrDie(Trainer::Create({{"east", &first}, {"west", &same}}, options));
  EXPECT_THAT(trainer.result().warning, AllOf(HasSubstr("east"), HasSubstr("west"), HasSubstr("count twice")));
}

}  // namespace
}  // namespace gradoracle
