// Tests of the tests: a copy of the engine's loop with one fault each, and the check that catches it. The checks, data
// sets, sizes, seeds and thresholds are those of gradient_law_test.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/gradient_kernel.h"
#include "core/normal.h"
#include "core/random_stream.h"
#include "gtest/gtest.h"
#include "tests/core/gradient_law_checks.h"
#include "tests/core/gradient_law_experiments.h"

namespace gradoracle {
namespace {

enum class Fault {
  kNone,
  kDivisorMinusOne,         // 1/(n-1) instead of 1/n
  kVarianceFivePercentOff,  // tau^2 times 1.05
  kUniformNoise,            // right variance, wrong law
  kNoiseSharedByRows,       // one xi for the whole batch
  kNoiseSharedByGradients,  // gradient 0's noise for all
  kNoiseFromWordsOfRows,    // the words that chose the rows used again
  kStaleBatch,              // gradient k uses the batch of k - 1
  kFixedBatch,              // gradient k uses the batch of 0
  kOtherSampling,           // with and without replacement confused
  kRowOffByOne,             // row i + 1 (modulo N) for row i
  kLastRowNeverDrawn,       // rows of [0, N - 1)
  kTargetOfOtherRow,        // features of row i, target of row i + 1
  kFactorForgotten,         // injected = n - sigma^2 whatever the sampling
};

// The engine's loop written out, with `fault`. With kNone it has the engine's bits (a test below).
GradientSample RunFaulty(const Experiment& experiment, Fault fault) {
  GradientSample sample = RunEngine(experiment);  // for what it says of itself: rows, variance
  const int64_t n = experiment.query.batch_size, d = experiment.data.dimension();
  const auto row_count = static_cast<uint32_t>(experiment.data.row_count());
  Sampling sampling = experiment.options.sampling;
  if (fault == Fault::kOtherSampling) {
    sampling = sampling == Sampling::kIid ? Sampling::kWithoutReplacement : Sampling::kIid;
  }
  double variance = sample.injected_variance;
  if (fault == Fault::kVarianceFivePercentOff) variance *= 1.05;
  if (fault == Fault::kFactorForgotten) variance = static_cast<double>(n) - experiment.options.residual_variance;

  Eigen::VectorXd targets = experiment.data.targets;
  if (fault == Fault::kTargetOfOtherRow) {
    for (uint32_t i = 0; i < row_count; ++i) targets[i] = experiment.data.targets[(i + 1) % row_count];
  }
  RandomStream random(experiment.key);
  RowSampler sampler(sampling, fault == Fault::kLastRowNeverDrawn ? row_count - 1 : row_count, n);
  std::vector<uint32_t> rows(static_cast<size_t>(n));
  std::vector<uint64_t> words(rows.size());
  std::vector<double> noise(rows.size());
  for (int64_t k = 0; k < experiment.query.count; ++k) {
    int64_t batch = k;
    if (fault == Fault::kStaleBatch) batch = std::max<int64_t>(k - 1, 0);
    if (fault == Fault::kFixedBatch) batch = 0;
    sampler.Draw(random, batch, absl::MakeSpan(rows));
    if (fault == Fault::kRowOffByOne) {
      for (uint32_t& row : rows) row = (row + 1) % row_count;
    }
    random.Fill(fault == Fault::kNoiseFromWordsOfRows ? RandomPurpose::kRows : RandomPurpose::kNoise,
                static_cast<uint64_t>(fault == Fault::kNoiseSharedByGradients ? 0 : k), absl::MakeSpan(words));
    StandardNormalFromWords(words, absl::MakeSpan(noise));
    if (fault == Fault::kUniformNoise) {
      for (size_t i = 0; i < noise.size(); ++i) noise[i] = std::sqrt(12.0) * (std::ldexp(words[i], -64) - 0.5);
    }
    if (fault == Fault::kNoiseSharedByRows) noise.assign(noise.size(), noise[0]);
    const double deviation = std::sqrt(variance);
    for (double& xi : noise) xi *= deviation;
    MinibatchGradient({experiment.data.features.data(), targets.data(), experiment.query.weights.data(),
                       static_cast<size_t>(d), rows.data(), variance > 0 ? noise.data() : nullptr, rows.size(),
                       sample.gradients.row(k).data()});
    if (fault == Fault::kDivisorMinusOne) {
      sample.gradients.row(k) *= static_cast<double>(n) / static_cast<double>(n - 1);
    }
  }
  return sample;
}

// Catches a copy that has drifted from the engine: without a fault both have the same bits, so that what is shown of
// the copy is shown of the engine.
TEST(PlantedBugsCopyTest, WithoutAFaultTheCopyIsTheEngine) {
  for (const Experiment& experiment :
       {WhiteBoxExperiment(Sampling::kIid), ReadableNoiseExperiment(), RowsOnlyExperiment(Sampling::kShuffledEpochs),
        BlackBoxExperiment(Sampling::kWithoutReplacement), CalibratedExperiment()}) {
    EXPECT_EQ(RunFaulty(experiment, Fault::kNone).gradients, RunEngine(experiment).gradients) << experiment.name;
  }
}

using Check = std::function<Verdict(const GradientSample&)>;

Check WithLevel(Verdict (*check)(const GradientSample&, double)) {
  return [check](const GradientSample& sample) { return check(sample, kFalseAlarm); };
}

struct Planted {
  std::string name;
  Fault fault;
  Experiment (*experiment)();
  Check check;
};
std::ostream& operator<<(std::ostream& out, const Planted& planted) { return out << planted.name; }

Experiment WhiteBoxIid() { return WhiteBoxExperiment(Sampling::kIid); }
Experiment BlackBoxIid() { return BlackBoxExperiment(Sampling::kIid); }
Experiment RowsOnlyIid() { return RowsOnlyExperiment(Sampling::kIid); }
Experiment RowsOnlyWithoutReplacement() { return RowsOnlyExperiment(Sampling::kWithoutReplacement); }

class PlantedBugsTest : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedBugsTest, IsCaughtAndIsTheReason) {
  const Experiment experiment = GetParam().experiment();
  const Verdict with_fault = GetParam().check(RunFaulty(experiment, GetParam().fault));
  EXPECT_FALSE(with_fault.holds) << with_fault;
  const Verdict without_fault = GetParam().check(RunFaulty(experiment, Fault::kNone));
  EXPECT_TRUE(without_fault.holds) << without_fault;
}

INSTANTIATE_TEST_SUITE_P(
    EachCheck, PlantedBugsTest,
    ::testing::Values(
        // T1
        Planted{"DivisorMinusOne_MahalanobisSum", Fault::kDivisorMinusOne, WhiteBoxIid, WithLevel(CheckMahalanobisSum)},
        Planted{"VarianceFivePercentOff_MahalanobisSum", Fault::kVarianceFivePercentOff, WhiteBoxIid,
                WithLevel(CheckMahalanobisSum)},
        Planted{"StaleBatch_MahalanobisSum", Fault::kStaleBatch, WhiteBoxIid, WithLevel(CheckMahalanobisSum)},
        Planted{"RowOffByOne_MahalanobisSum", Fault::kRowOffByOne, WhiteBoxIid, WithLevel(CheckMahalanobisSum)},
        Planted{"TargetOfOtherRow_MahalanobisSum", Fault::kTargetOfOtherRow, WhiteBoxIid,
                WithLevel(CheckMahalanobisSum)},
        Planted{"OtherSampling_MahalanobisSum", Fault::kOtherSampling, WhiteBoxIid, WithLevel(CheckMahalanobisSum)},
        // T2
        Planted{"NoiseSharedByRows_MahalanobisLaw", Fault::kNoiseSharedByRows, WhiteBoxIid,
                WithLevel(CheckMahalanobisLaw)},
        // T3
        Planted{"UniformNoise_NoiseLaw", Fault::kUniformNoise, ReadableNoiseExperiment, WithLevel(CheckNoiseLaw)},
        // T8 on the noise
        Planted{"NoiseSharedByGradients_NoiseOfNeighbours", Fault::kNoiseSharedByGradients, ReadableNoiseExperiment,
                WithLevel(CheckNoiseOfNeighbours)},
        // T4
        Planted{"LastRowNeverDrawn_Mean", Fault::kLastRowNeverDrawn, RowsOnlyIid, WithLevel(CheckMean)},
        Planted{"NoiseFromWordsOfRows_Mean", Fault::kNoiseFromWordsOfRows, BlackBoxIid, WithLevel(CheckMean)},
        Planted{"FixedBatch_Mean", Fault::kFixedBatch, BlackBoxIid, WithLevel(CheckMean)},
        // T5
        Planted{"OtherSampling_Trace", Fault::kOtherSampling, RowsOnlyWithoutReplacement, CheckTrace},
        Planted{"OtherSamplingOfIid_Trace", Fault::kOtherSampling, RowsOnlyIid, CheckTrace},
        Planted{"FactorForgotten_Trace", Fault::kFactorForgotten, CalibratedExperiment, CheckTrace},
        // T6
        Planted{"OtherSampling_OperatorNorm", Fault::kOtherSampling, RowsOnlyWithoutReplacement,
                WithLevel(CheckOperatorNorm)},
        Planted{"FactorForgotten_OperatorNorm", Fault::kFactorForgotten, CalibratedExperiment,
                WithLevel(CheckOperatorNorm)},
        Planted{"FixedBatch_OperatorNorm", Fault::kFixedBatch, BlackBoxIid, WithLevel(CheckOperatorNorm)},
        // T7
        Planted{"FixedBatch_OffDiagonals", Fault::kFixedBatch, BlackBoxIid, CheckOffDiagonals},
        // T8 on the gradients
        Planted{"FixedBatch_Neighbours", Fault::kFixedBatch, BlackBoxIid, CheckNeighbours}),
    [](const ::testing::TestParamInfo<Planted>& instance) { return instance.param.name; });

// The check of distinct rows looks at rows, not gradients; its fault is a sampler of the other kind.
TEST(PlantedBugsInRowsTest, OtherSampling_DistinctRows) {
  const Experiment experiment = RowsOnlyExperiment(Sampling::kIid);
  EXPECT_FALSE(CheckDistinctRows(RunEngine(experiment)).holds);
}

// A gradient that is not a number must fail every check, not slip through a comparison.
TEST(PlantedBugsInGradientsTest, NotANumberFailsEveryCheck) {
  const Experiment white_box = WhiteBoxIid(), readable = ReadableNoiseExperiment();
  GradientSample sample = RunEngine(white_box), readable_sample = RunEngine(readable);
  sample.gradients(100, 3) = std::numeric_limits<double>::quiet_NaN();
  readable_sample.gradients(100, 3) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(CheckMahalanobisSum(sample, kFalseAlarm).holds);
  EXPECT_FALSE(CheckMahalanobisLaw(sample, kFalseAlarm).holds);
  EXPECT_FALSE(CheckNoiseLaw(readable_sample, kFalseAlarm).holds);
  EXPECT_FALSE(CheckNoiseOfNeighbours(readable_sample, kFalseAlarm).holds);
  EXPECT_FALSE(CheckMean(sample, kFalseAlarm).holds);
  EXPECT_FALSE(CheckTrace(sample).holds);
  EXPECT_FALSE(CheckOperatorNorm(sample, kFalseAlarm).holds);
  EXPECT_FALSE(CheckOffDiagonals(sample).holds);
  EXPECT_FALSE(CheckNeighbours(sample).holds);
}

}  // namespace
}  // namespace gradoracle
