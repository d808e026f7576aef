// The laws of the engine's gradients (theory 1.1 and 1.4.5), with computed thresholds. What each check would miss or
// catch is shown by planted_bugs_test with the same functions, seeds and sizes.
#include "gtest/gtest.h"
#include "tests/core/gradient_law_checks.h"
#include "tests/core/gradient_law_experiments.h"

namespace gradoracle {
namespace {

constexpr Sampling kAllSamplings[] = {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs};
constexpr Sampling kIndependentSamplings[] = {Sampling::kIid, Sampling::kWithoutReplacement};

#define EXPECT_HOLDS(expression)           \
  do {                                     \
    const Verdict verdict = (expression);  \
    EXPECT_TRUE(verdict.holds) << verdict; \
  } while (false)

// Catches an experiment too small for what it is to see: a variance 5 % off, missed with probability 1e-6.
TEST(GradientLawTest, ExperimentsHaveTheComputedPower) {
  EXPECT_GE(kGradients * kDimension, DegreesForPower(0.05, kFalseAlarm, 1e-6));
  EXPECT_NEAR(DegreesForPower(0.05, 1e-6, 1e-6), 74'421, 400);  // theory 7
}

// Catches a wrong divisor, noise of another variance, a batch other than the documented one (T1), noise that is
// dependent inside a batch (T2).
TEST(GradientLawTest, GivenTheBatchDistancesAreChiSquared) {
  for (const Sampling sampling : kAllSamplings) {
    const Experiment experiment = WhiteBoxExperiment(sampling);
    const GradientSample sample = RunEngine(experiment);
    EXPECT_HOLDS(CheckMahalanobisSum(sample, kFalseAlarm));
    EXPECT_HOLDS(CheckMahalanobisLaw(sample, kFalseAlarm));
  }
}

// Catches noise that is not normal (T3) or shared between gradients (T8).
TEST(GradientLawTest, GivenTheBatchNoiseIsNormalAndIndependent) {
  const Experiment experiment = ReadableNoiseExperiment();
  const GradientSample sample = RunEngine(experiment);
  EXPECT_HOLDS(CheckNoiseLaw(sample, kFalseAlarm));
  EXPECT_HOLDS(CheckNoiseOfNeighbours(sample, kFalseAlarm));
}

// Catches batches of another law: rows left out, noise tied to the rows, a batch that stays (T4 to T8).
TEST(GradientLawTest, FromOutsideMeanAndCovarianceAreThePopulations) {
  for (const Sampling sampling : kIndependentSamplings) {
    for (const Experiment& experiment : {BlackBoxExperiment(sampling), RowsOnlyExperiment(sampling)}) {
      SCOPED_TRACE(experiment.name);
      const GradientSample sample = RunEngine(experiment);
      EXPECT_HOLDS(CheckMean(sample, kFalseAlarm));
      EXPECT_HOLDS(CheckTrace(sample));
      EXPECT_HOLDS(CheckOperatorNorm(sample, kFalseAlarm));
      EXPECT_HOLDS(CheckOffDiagonals(sample));
      EXPECT_HOLDS(CheckNeighbours(sample));
    }
  }
}

// Catches a calibration that forgets the sampling's variance factor: the promise tau^2 = n, so Cov(g) = H, at an
// optimum where 40 % of n comes from residuals.
TEST(GradientLawTest, CalibratedNoiseAccountsForTheSampling) {
  const Experiment experiment = CalibratedExperiment();
  const GradientSample sample = RunEngine(experiment);
  const double sigma2 = experiment.options.residual_variance;
  EXPECT_NEAR(sample.injected_variance, 40 - sigma2 * 40 / 79, 1e-12);
  EXPECT_HOLDS(CheckTrace(sample));
  EXPECT_HOLDS(CheckOperatorNorm(sample, kFalseAlarm));
}

// Catches a sampler that repeats rows inside a batch.
TEST(GradientLawTest, RowsWithoutReplacementAreDistinct) {
  for (const Sampling sampling : {Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    const Experiment experiment = RowsOnlyExperiment(sampling);
    EXPECT_HOLDS(CheckDistinctRows(RunEngine(experiment)));
  }
}

}  // namespace
}  // namespace gradoracle
