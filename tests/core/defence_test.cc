#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/defence/clipped_gradient.h"
#include "core/defence/defence_policy.h"
#include "core/defence/mask_budget.h"
#include "core/defence/participation.h"
#include "core/defence/weights_grid.h"
#include "core/errors.h"
#include "core/gradient_engine.h"
#include "core/local_oracle.h"
#include "core/sampling.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

constexpr double kFailure = 1e-7;  // of each statistical check

// |sum of k squared standard normals - k| beyond this has probability 2 kFailure at most (Laurent and Massart 2000).
double ChiSquareBound(double k) {
  const double t = std::log(1 / kFailure);
  return 2 * std::sqrt(k * t) + 2 * t;
}

RegressionData Data(int64_t row_count = 120, int64_t dimension = 4) {
  std::mt19937_64 generator(7);
  std::normal_distribution<double> normal;
  RegressionData data;
  data.features = RowMajorMatrix::NullaryExpr(row_count, dimension, [&]() { return normal(generator); });
  data.targets = data.features.col(0) - 0.5 * data.features.col(1);
  data.targets += Eigen::VectorXd::NullaryExpr(row_count, [&]() { return normal(generator); });
  for (int64_t j = 0; j < dimension; ++j) data.feature_names.push_back(absl::StrCat("x", j));
  data.target_name = std::string("target");
  return data;
}

RequestKey Key(uint8_t number) {
  RequestKey key{};
  key[0] = number;
  return key;
}

RowMajorMatrix Gradients(const RegressionData& data, const GradientEngine::Options& options, const GradientQuery& query,
                         const RequestKey& key = Key(1)) {
  const GradientEngine engine(&data, options);
  RowMajorMatrix gradients(query.count, data.dimension());
  engine.Start(query, key)->Compute(0, gradients);
  return gradients;
}

GradientQuery Query(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count) {
  GradientQuery query;
  query.weights = weights;
  query.batch_size = batch_size;
  query.count = count;
  return query;
}

DefencePolicy Clipping(double norm, double multiplier) {
  DefencePolicy policy;
  policy.clip_norm = norm;
  policy.gradient_noise_multiplier = multiplier;
  return policy;
}

std::string RefusedField(const DefencePolicy& policy, Sampling sampling, NoiseRule rule = NoiseRule::kCalibrated,
                         bool chooses_noise = false) {
  NoisePolicy noise;
  noise.rule = rule;
  const absl::Status status = ValidateDefences(policy, sampling, noise, chooses_noise);
  if (status.ok()) return "";
  EXPECT_EQ(ErrorReason(status), "DEFENCE_INVALID");
  return ErrorField(status).value_or("");
}

// Catches: a combination whose promise does not hold let through, or one that holds refused.
TEST(DefencePolicyTest, WhatGoesTogether) {
  DefencePolicy mask;
  mask.mask_variance = 0.5;
  EXPECT_EQ(RefusedField({}, Sampling::kIid), "");
  EXPECT_EQ(RefusedField({}, Sampling::kPoisson), "sampling") << "poisson needs clipping";
  EXPECT_EQ(RefusedField(Clipping(1, 1), Sampling::kPoisson), "");
  EXPECT_EQ(RefusedField(Clipping(1, 1), Sampling::kIid), "sampling") << "no epsilon is known there";
  DefencePolicy half;
  half.clip_norm = 1;
  EXPECT_EQ(RefusedField(half, Sampling::kPoisson), "gradient_noise_multiplier");
  half = {};
  half.gradient_noise_multiplier = 1;
  EXPECT_EQ(RefusedField(half, Sampling::kPoisson), "clip_norm");
  EXPECT_EQ(RefusedField(mask, Sampling::kIid), "");
  EXPECT_EQ(RefusedField(mask, Sampling::kIid, NoiseRule::kNone), "");
  EXPECT_EQ(RefusedField(mask, Sampling::kIid, NoiseRule::kFixed), "noise_rule");
  EXPECT_EQ(RefusedField(mask, Sampling::kIid, NoiseRule::kScaled), "noise_rule");
  EXPECT_EQ(RefusedField(mask, Sampling::kIid, NoiseRule::kCalibrated, true), "extra_noise_variances");
  DefencePolicy both = Clipping(1, 1);
  both.mask_variance = 1;
  EXPECT_EQ(RefusedField(both, Sampling::kPoisson), "mask_variance");
  DefencePolicy grid;
  grid.weights_grid = 0.1;
  EXPECT_EQ(RefusedField(grid, Sampling::kIid), "");
  EXPECT_EQ(RefusedField(grid, Sampling::kShuffledEpochs), "weights_grid") << "two counts would share a batch";
  DefencePolicy cap;
  cap.max_participation = 3;
  EXPECT_EQ(RefusedField(cap, Sampling::kShuffledEpochs), "");
  EXPECT_EQ(RefusedField(cap, Sampling::kIid), "max_participation");
}

TEST(DefencePolicyTest, Ranges) {
  for (const double value : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    DefencePolicy policy;
    policy.mask_variance = value;
    EXPECT_EQ(RefusedField(policy, Sampling::kIid), "mask_variance") << value;
    policy = {};
    policy.weights_grid = value;
    EXPECT_EQ(RefusedField(policy, Sampling::kIid), "weights_grid") << value;
    policy = {};
    policy.reply_grid = value;
    EXPECT_EQ(RefusedField(policy, Sampling::kIid), "reply_grid") << value;
    EXPECT_EQ(RefusedField(Clipping(value, 1), Sampling::kPoisson), "clip_norm") << value;
    EXPECT_EQ(RefusedField(Clipping(1, value), Sampling::kPoisson), "gradient_noise_multiplier") << value;
  }
  DefencePolicy policy;
  policy.reply_grid = 0.3;
  EXPECT_EQ(RefusedField(policy, Sampling::kIid), "reply_grid") << "no power of two";
  policy.reply_grid = 0.25;
  EXPECT_EQ(RefusedField(policy, Sampling::kIid), "");
  EXPECT_EQ(RefusedField(Clipping(1e-170, 1), Sampling::kPoisson), "clip_norm") << "its noise would have variance 0";
  EXPECT_EQ(RefusedField(Clipping(1e100, 1e100), Sampling::kPoisson), "clip_norm");
  policy = {};
  policy.max_participation = 0;
  EXPECT_EQ(RefusedField(policy, Sampling::kShuffledEpochs), "max_participation");
}

// Catches: the norm taken of the residual alone, clipping the sum instead of each term, terms scaled up.
TEST(ClippedGradientTest, EachTermIsShortened) {
  const RegressionData data = Data();
  const Eigen::VectorXd weights = Eigen::VectorXd::Constant(4, 0.7);
  std::vector<uint32_t> rows(50);
  for (uint32_t i = 0; i < 50; ++i) rows[i] = (3 * i) % 120;
  const double clip_norm = 1.1;
  Eigen::RowVectorXd expected = Eigen::RowVectorXd::Zero(4);
  int clipped = 0;
  for (const uint32_t row : rows) {
    Eigen::RowVectorXd term = data.features.row(row) * (data.features.row(row).dot(weights) - data.targets(row));
    if (term.norm() > clip_norm) {
      term *= clip_norm / term.norm();
      ++clipped;
    }
    expected += term;
  }
  ASSERT_GT(clipped, 10);
  ASSERT_LT(clipped, 40);
  Eigen::RowVectorXd sum(4);
  ClippedGradientSum(data, weights, rows, clip_norm, sum);
  EXPECT_LT((sum - expected).norm(), 1e-12);
  ClippedGradientSum(data, weights, {}, clip_norm, sum);
  EXPECT_EQ(sum.norm(), 0) << "an empty batch";
  // The sensitivity the noise is made for: one row more moves the sum by at most c.
  Eigen::RowVectorXd with(4);
  Eigen::RowVectorXd without(4);
  ClippedGradientSum(data, 1e6 * weights, rows, clip_norm, with);
  ClippedGradientSum(data, 1e6 * weights, absl::MakeSpan(rows).first(49), clip_norm, without);
  EXPECT_NEAR((with - without).norm(), clip_norm, 1e-9);
}

// Catches: a probability other than n/N, rows drawn together, a row never drawn.
TEST(PoissonSamplingTest, EveryRowByItself) {
  constexpr int64_t kRows = 50;
  constexpr int64_t kBatch = 10;
  constexpr int64_t kDraws = 4000;
  RowSampler sampler(Sampling::kPoisson, kRows, kBatch);
  RandomStream random(Key(3));
  std::vector<uint32_t> rows;
  std::vector<int64_t> seen(kRows);
  double total = 0;
  double squares = 0;
  for (int64_t k = 0; k < kDraws; ++k) {
    sampler.DrawBatch(random, k, rows);
    for (size_t i = 1; i < rows.size(); ++i) ASSERT_LT(rows[i - 1], rows[i]) << "each at most once";
    for (const uint32_t row : rows) ++seen[row];
    const auto size = static_cast<double>(rows.size());
    total += size;
    squares += (size - kBatch) * (size - kBatch);
  }
  // Hoeffding: |mean - p| > sqrt(ln(2/a) / (2 k)) with probability below a.
  const double a = kFailure / kRows;
  for (const int64_t count : seen) {
    EXPECT_NEAR(static_cast<double>(count) / kDraws, 0.2, std::sqrt(std::log(2 / a) / (2 * kDraws)));
  }
  EXPECT_NEAR(total / (kDraws * kRows), 0.2, std::sqrt(std::log(2 / kFailure) / (2 * kDraws * kRows)));
  // Var of the size is N p (1-p) = 8 (a fixed size: 0; all or none: 400). Its fourth moment is about 3 * 64, so the
  // standard error of the mean square is 8 sqrt(2 / draws) = 0.18; 6 of them.
  EXPECT_NEAR(squares / kDraws, 8, 6 * 8 * std::sqrt(2.0 / kDraws));
  RowSampler all(Sampling::kPoisson, kRows, kRows);
  all.DrawBatch(random, 0, rows);
  EXPECT_EQ(rows.size(), kRows);
}

// The noise of masked replies is what they have more than unmasked ones of the same key: N(0, lambda I), nothing else.
// Catches: lambda taken for a deviation, noise divided by n, the same for all coordinates or all gradients, added
// twice, or target noise left on.
TEST(MaskTest, AddsIsotropicNoiseAndNothingElse) {
  const RegressionData data = Data();
  const double lambda = 0.09;
  constexpr int64_t kCount = 5000;
  GradientEngine::Options options;
  options.noise.rule = NoiseRule::kNone;
  options.residual_variance = 1;
  const GradientQuery query = Query(Eigen::VectorXd::Constant(4, 2), 16, kCount);
  const RowMajorMatrix plain = Gradients(data, options, query);
  options.defence.mask_variance = lambda;
  const RowMajorMatrix noise = (Gradients(data, options, query) - plain) / std::sqrt(lambda);
  EXPECT_NEAR(noise.squaredNorm(), 4 * kCount, ChiSquareBound(4 * kCount));
  // Sums over coordinates, and over neighbours in time, are Gaussian of variance 4 and 2.
  const Eigen::VectorXd across = noise.rowwise().sum();
  EXPECT_NEAR(across.squaredNorm() / 4, kCount, ChiSquareBound(kCount));
  double neighbours = 0;
  for (Eigen::Index k = 0; k + 1 < kCount; k += 2) neighbours += (noise.row(k) + noise.row(k + 1)).squaredNorm() / 2;
  EXPECT_NEAR(neighbours, 2 * kCount, ChiSquareBound(2 * kCount));
}

// Catches: noise of the wrong size (s c / n each coordinate), a sum divided by the drawn size instead of n.
TEST(ClippingTest, AddsNoiseOfMultiplierTimesNormToTheSum) {
  const RegressionData data = Data();
  constexpr int64_t kCount = 3000;
  constexpr double kBatch = 12;
  GradientEngine::Options options;
  options.sampling = Sampling::kPoisson;
  options.noise.rule = NoiseRule::kNone;
  options.defence = Clipping(0.8, 1.5);
  const GradientQuery query = Query(Eigen::VectorXd::Constant(4, 2), 12, kCount);
  const RowMajorMatrix noisy = Gradients(data, options, query);
  RowSampler sampler(Sampling::kPoisson, data.row_count(), 12);
  RandomStream random(Key(1));
  std::vector<uint32_t> rows;
  Eigen::RowVectorXd sum(4);
  double squares = 0;
  for (int64_t k = 0; k < kCount; ++k) {
    sampler.DrawBatch(random, k, rows);
    ClippedGradientSum(data, query.weights, rows, 0.8, sum);
    squares += (noisy.row(k) * kBatch - sum).squaredNorm() / (1.5 * 1.5 * 0.8 * 0.8);
  }
  EXPECT_NEAR(squares, 4 * kCount, ChiSquareBound(4 * kCount));
  EXPECT_DOUBLE_EQ(IsotropicNoiseVariance(options.defence, 12), 1.5 * 1.5 * 0.8 * 0.8 / 144);
}

absl::StatusOr<std::unique_ptr<LocalOracle>> Oracle(const OracleOptions& options) {
  return LocalOracle::FromData(Data(), options);
}

RowMajorMatrix Answers(LocalGradientSource& source, const GradientQuery& query) {
  RowMajorMatrix answers(query.count, query.weights.size());
  int64_t filled = 0;
  const absl::Status status = source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    answers.middleRows(filled, block.rows()) = block;
    filled += block.rows();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return answers;
}

// Catches: a repeat that teaches something new, neighbours in one cell told apart, answers at the weights asked, one
// batch shared by two cells or two batch sizes.
TEST(WeightsGridTest, RepeatsAndNeighboursTeachNothing) {
  OracleOptions options;
  options.defence.weights_grid = 0.25;
  const auto oracle = Oracle(options).value();
  uint8_t next = 1;
  LocalGradientSource source(oracle.get(), [&]() { return Key(next++); });
  const Eigen::VectorXd point = Eigen::Vector4d(0.5, -0.25, 0, 1);
  const RowMajorMatrix first = Answers(source, Query(point, 32, 20));
  EXPECT_EQ(Answers(source, Query(point, 32, 20)), first);
  EXPECT_EQ(Answers(source, Query(point.array() + 0.1, 32, 20)), first) << "the same cell";
  EXPECT_EQ(Answers(source, Query(point, 32, 7)), first.topRows(7)) << "fewer of them";
  const Eigen::VectorXd other = point.array() + 0.25;
  const RowMajorMatrix difference = Answers(source, Query(other, 32, 20)) - first;
  // One batch and noise would make all of them H_B (w1 - w2), of the noise's size only through the batch.
  EXPECT_GT(difference.norm(), 0.1 * first.norm());
  Eigen::RowVectorXd drop = oracle->fit().hessian * (other - point);
  EXPECT_GT((difference.row(0) - drop).norm(), 0.1);
  EXPECT_NE(Answers(source, Query(point, 33, 1)), first.topRows(1));
  LocalGradientSource elsewhere(oracle.get(), [&]() { return Key(next++); });
  EXPECT_NE(Answers(elsewhere, Query(point, 32, 20)), first) << "another secret";
}

// Catches: weights let over the norm by rounding, not-a-number rounded into something.
TEST(WeightsGridTest, WhatIsRoundedIsWhatIsChecked) {
  OracleOptions options;
  options.defence.weights_grid = 60;
  const auto oracle = Oracle(options).value();
  LocalGradientSource source(oracle.get(), []() { return Key(1); });
  const auto ask = [&](double weight) {
    return source.Gradients(Query(Eigen::VectorXd::Constant(4, weight), 32, 1),
                            [](const auto&) { return absl::OkStatus(); });
  };
  EXPECT_EQ(ErrorReason(ask(40)), "WEIGHTS_NORM") << "norm 80 asked, 120 answered, 100 allowed";
  EXPECT_TRUE(ask(20).ok());
  EXPECT_EQ(ErrorReason(ask(std::nan(""))), "WEIGHTS_NOT_FINITE");
  EXPECT_EQ(OnWeightsGrid(Query(Eigen::VectorXd::Constant(4, 1), 1, 1), std::nullopt).weights(0), 1);
}

// Catches: ceil(m n / N) where n does not divide N, an epoch too few or too many.
TEST(ParticipationTest, BoundsWhatTheSamplerDoes) {
  RandomStream random(Key(9));
  for (const auto& [rows, batch, count] :
       {std::tuple<int64_t, int64_t, int64_t>{10, 4, 5}, {12, 4, 6}, {12, 4, 7}, {20, 10, 1}, {9, 2, 13}}) {
    RowSampler sampler(Sampling::kShuffledEpochs, rows, batch);
    std::vector<int64_t> uses(static_cast<size_t>(rows));
    std::vector<uint32_t> drawn;
    for (int64_t k = 0; k < count; ++k) {
      sampler.DrawBatch(random, k, drawn);
      for (const uint32_t row : drawn) ++uses[row];
    }
    const int64_t most = *std::max_element(uses.begin(), uses.end());
    const int64_t bound = LargestParticipation(Sampling::kShuffledEpochs, rows, batch, count);
    EXPECT_LE(most, bound) << rows << " " << batch << " " << count;
    EXPECT_LE(bound, most + 1) << "no epoch more than begun";
  }
  EXPECT_EQ(LargestParticipation(Sampling::kShuffledEpochs, 10, 4, 5), 3)
      << "two batches an epoch; ceil(5 * 4 / 10) would be 2";
  EXPECT_EQ(LargestParticipation(Sampling::kWithoutReplacement, 10, 4, 5), 5);
  EXPECT_EQ(LargestParticipation(Sampling::kPoisson, 10, 4, 5), 5);
  EXPECT_EQ(LargestParticipation(Sampling::kIid, 10, 40, 5), 200);
  constexpr int64_t kLarge = int64_t{1} << 53;
  EXPECT_EQ(LargestParticipation(Sampling::kIid, 10, kLarge, kLarge), std::numeric_limits<int64_t>::max());
}

// theory 6c.2: at lambda the active attack's d sqrt(2 lambda / m) / R is e ||H||.
TEST(MaskBudgetTest, TheActiveAttackErrsByTheErrorWanted) {
  const double lambda = MaskVarianceForBudget(5000, 0.2, 10, 3, 40).value();
  EXPECT_NEAR(40 * std::sqrt(2 * lambda / 5000) / 10, 0.2 * 3, 1e-12);
  for (const double bad : {0.0, -1.0, std::nan("")}) {
    EXPECT_EQ(ErrorReason(MaskVarianceForBudget(5000, bad, 10, 3, 40).status()), "MASK_BUDGET_INVALID");
  }
}

// Catches: a client told that a masked oracle is calibrated, a mask from the data told to callers.
TEST(DefendedOracleTest, InfoTellsEnoughAndNoMore) {
  OracleOptions options;
  options.defence.mask_variance = 0.5;
  const auto masked = Oracle(options).value();
  EXPECT_TRUE(masked->info().noise.isotropic);
  EXPECT_EQ(masked->info().noise.rule, NoiseRule::kNone);
  EXPECT_EQ(masked->info().defence, options.defence);
  EXPECT_EQ(KnownTotalNoiseVariance(masked->info().noise, 64), std::nullopt);
  NoiseInfo calibrated = masked->info().noise;
  calibrated.rule = NoiseRule::kCalibrated;
  EXPECT_EQ(KnownTotalNoiseVariance(calibrated, 64), std::nullopt) << "whatever the rule";
  options.publish_defences = false;
  const auto silent = Oracle(options).value();
  EXPECT_TRUE(silent->info().noise.isotropic);
  EXPECT_EQ(silent->info().defence, DefencePolicy());
  EXPECT_EQ(silent->defence().mask_variance, 0.5);
  OracleOptions budget;
  budget.mask_budget = 1000;
  budget.mask_error = 0.3;
  const auto derived = Oracle(budget).value();
  EXPECT_TRUE(derived->info().noise.isotropic);
  EXPECT_EQ(derived->info().defence.mask_variance, std::nullopt) << "it depends on the data";
  const double ratio = 100 * 0.3 * derived->fit().eigenvalues(0) / 4;
  EXPECT_NEAR(*derived->defence().mask_variance, 500 * ratio * ratio, 1e-9 * 500 * ratio * ratio);
  budget.mask_error.reset();
  EXPECT_EQ(ErrorField(Oracle(budget).status()), "mask_budget");
}

// Catches: replies off the grid, a finer grid than the fixed one accepted.
TEST(DefendedOracleTest, RepliesLieOnTheGridAskedFor) {
  OracleOptions options;
  options.defence.reply_grid = 0.125;
  const auto oracle = Oracle(options).value();
  LocalGradientSource source(oracle.get(), []() { return Key(1); });
  const RowMajorMatrix answers = Answers(source, Query(Eigen::VectorXd::Zero(4), 32, 50));
  EXPECT_EQ((answers * 8).array().rint().matrix(), answers * 8);
  EXPECT_GT(answers.norm(), 0);
  options.defence.reply_grid = std::ldexp(1.0, -40);
  EXPECT_EQ(ErrorField(Oracle(options).status()), "reply_grid");
}

}  // namespace
}  // namespace gradoracle
