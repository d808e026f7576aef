#include "client/estimation/estimator_state.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "client/estimation/state_file.h"
#include "core/error_norm.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

const OracleIdentity kOracle{"houses", "raw", 1000};

HessianEstimator::Options Options(int64_t expected_count) {
  HessianEstimator::Options options;
  options.batch_size = 64;
  options.total_noise_variance = 32;
  options.expected_count = expected_count;
  return options;
}

EstimatorState NewState(int64_t dimension, int64_t expected_count, const std::string& run,
                        const OracleIdentity& oracle = kOracle) {
  EstimatorState state;
  state.query = {"covariance", "digest"};
  state.parts.push_back({oracle, {run}, *HessianEstimator::Create(dimension, Options(expected_count))});
  return state;
}

int64_t Uniform(std::mt19937_64& generator, int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(generator);
}

// Adds `rows` in chunks of random sizes, now and then going through a file's bytes.
void AddWithStops(const Eigen::Ref<const RowMajorMatrix>& rows, int64_t stops, std::mt19937_64& generator,
                  EstimatorState& state) {
  if (rows.rows() == 0) return;
  const int64_t largest_chunk = std::max<int64_t>(1, rows.rows() / Uniform(generator, 1, 30));
  for (int64_t begin = 0; begin < rows.rows();) {
    const int64_t length = std::min(Uniform(generator, 1, largest_chunk), rows.rows() - begin);
    ASSERT_TRUE(state.parts.front().estimator.Add(rows.middleRows(begin, length)).ok());
    begin += length;
    if (Uniform(generator, 0, rows.rows() / largest_chunk + 1) >= stops) continue;
    absl::StatusOr<EstimatorState> loaded = DecodeState(EncodeState(state), "memory");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    state = *std::move(loaded);
  }
}

HessianEstimate Estimated(const EstimatorState& state) {
  std::mt19937_64 generator(5);
  absl::StatusOr<HessianEstimate> estimate = EstimateFromState(state, generator, 0.95);
  EXPECT_TRUE(estimate.ok()) << estimate.status();
  return *std::move(estimate);
}

// The law of the test: count, mean and Hessian are those of two passes over all rows, to 1e-12.
void ExpectTwoPasses(const EstimatorState& state, const RowMajorMatrix& rows) {
  const Eigen::RowVectorXd mean = rows.colwise().mean();
  const RowMajorMatrix centred = rows.rowwise() - mean;
  const Eigen::MatrixXd hessian = 64.0 / 32 / static_cast<double>(rows.rows() - 1) * (centred.transpose() * centred);
  const HessianEstimate estimate = Estimated(state);
  EXPECT_EQ(estimate.gradients, rows.rows());
  EXPECT_LT((estimate.mean_gradient.transpose() - mean).norm(), 1e-12 * mean.norm());
  EXPECT_LT((estimate.hessian - hessian).norm(), 1e-12 * hessian.norm());
}

RowMajorMatrix Rows(std::mt19937_64& generator, int64_t count, int64_t dimension) {
  RowMajorMatrix rows = StandardNormal(generator, count, dimension);
  rows.rowwise() += Eigen::RowVectorXd::LinSpaced(dimension, 5, -3);
  return rows;
}

// Catches: anything a stop loses: the open block, its buffer, rows pending between blocks, degrees of freedom, the
// block's place among the groups. Bit for bit, the limit's groups included, whenever the chunks are the same.
TEST(EstimatorState, GoesOnAsIfItHadNeverStopped) {
  std::mt19937_64 generator(1);
  for (int run = 0; run < 60; ++run) {
    const int64_t d = Uniform(generator, 1, run % 20 == 0 ? 300 : 40);
    const int64_t count = Uniform(generator, 2, 1500);
    const RowMajorMatrix rows = Rows(generator, count, d);
    const int64_t expected = Uniform(generator, 0, 1) * Uniform(generator, 1, 2 * count);
    EstimatorState straight = NewState(d, expected, "a");
    EstimatorState stopped = NewState(d, expected, "a");
    std::mt19937_64 same(run), too(run);
    AddWithStops(rows, 0, same, straight);
    AddWithStops(rows, 3, too, stopped);
    ExpectTwoPasses(stopped, rows);
    EXPECT_EQ(EncodeState(stopped), EncodeState(straight)) << "run " << run;
  }
}

// Catches: gradients lost or counted twice in a merge, an open block dropped, an order that matters.
TEST(EstimatorState, MergesInAnyOrder) {
  std::mt19937_64 generator(2);
  for (int run = 0; run < 60; ++run) {
    const int64_t d = Uniform(generator, 1, run % 20 == 0 ? 300 : 40);
    const int64_t pieces = Uniform(generator, 2, 6);
    RowMajorMatrix rows = Rows(generator, Uniform(generator, pieces, 1500), d);
    std::vector<int64_t> ends = {0, rows.rows()};
    for (int64_t i = 1; i < pieces; ++i) ends.push_back(Uniform(generator, 0, rows.rows()));
    std::sort(ends.begin(), ends.end());
    std::vector<EstimatorState> states;
    for (int64_t i = 0; i < pieces; ++i) {
      states.push_back(NewState(d, Uniform(generator, 0, 4000), std::to_string(i)));
      const int64_t length = ends[static_cast<size_t>(i) + 1] - ends[static_cast<size_t>(i)];
      AddWithStops(rows.middleRows(ends[static_cast<size_t>(i)], length), 1, generator, states.back());
    }
    while (states.size() > 1) {  // a random tree
      std::shuffle(states.begin(), states.end(), generator);
      EstimatorState other = std::move(states.back());
      states.pop_back();
      ASSERT_TRUE(MergeStates(states.front(), *DecodeState(EncodeState(other), "memory")).ok());
      states.front() = *DecodeState(EncodeState(states.front()), "memory");
      // Gradients may come after a merge, too: the block that was open goes on.
      const RowMajorMatrix more = Rows(generator, Uniform(generator, 0, 100), d);
      AddWithStops(more, 1, generator, states.front());
      rows.conservativeResize(rows.rows() + more.rows(), d);
      rows.bottomRows(more.rows()) = more;
    }
    ExpectTwoPasses(states.front(), rows);
    EXPECT_EQ(states.front().parts.front().runs.size(), static_cast<size_t>(pieces));
  }
}

// Catches: a merged stream's limit off by more than its own spread (groups with the wrong degrees of freedom, signs
// shared between streams). The ratio of two limits for the same gradients has a deviation of about 10 % a stream, so 2
// % over 30 streams; 10 % is five of them.
TEST(EstimatorState, TheLimitStaysWithinItsSpread) {
  std::mt19937_64 generator(3);
  double sum = 0;
  constexpr int kStreams = 30;
  for (int run = 0; run < kStreams; ++run) {
    const RowMajorMatrix rows = Rows(generator, 4000, 10);
    EstimatorState whole = NewState(10, 4000, "whole");
    ASSERT_TRUE(whole.parts.front().estimator.Add(rows).ok());
    EstimatorState merged = NewState(10, 0, "0");
    for (int64_t begin = 0, piece = 1; begin < 4000; ++piece) {
      const int64_t length = std::min(Uniform(generator, 300, 1500), 4000 - begin);
      EstimatorState part = NewState(10, 4000, std::to_string(piece));
      ASSERT_TRUE(part.parts.front().estimator.Add(rows.middleRows(begin, length)).ok());
      ASSERT_TRUE(MergeStates(merged, std::move(part)).ok());
      begin += length;
    }
    sum += Estimated(merged).relative_error.upper.value() / Estimated(whole).relative_error.upper.value();
  }
  EXPECT_NEAR(sum / kStreams, 1, 0.1);
}

// Two oracles with N = 1000 and 3000 rows: H = H_1/4 + 3 H_2/4. Catches: pooled scatters (the mean by gradients, here
// 4 : 1 the other way), equal weights, and a limit that forgets a part or adds their limits up instead of in square.
TEST(EstimatorState, DifferentOraclesAreWeightedByTheirRows) {
  std::mt19937_64 generator(4);
  constexpr int kRuns = 300;
  const int64_t d = 8;
  Eigen::VectorXd first = Eigen::VectorXd::Ones(d), second = Eigen::VectorXd::Ones(d);
  first(0) = 4;
  second(1) = 2;
  const Eigen::MatrixXd truth = (first / 4 + 3 * second / 4).asDiagonal();
  std::vector<double> errors, limits;
  int covered = 0;
  Eigen::MatrixXd mean = Eigen::MatrixXd::Zero(d, d);
  for (int run = 0; run < kRuns; ++run) {
    EstimatorState state = NewState(d, 2048, "a", {"first", "raw", 1000});
    EstimatorState other = NewState(d, 512, "b", {"second", "raw", 3000});
    const double scale = std::sqrt(32.0 / 64);
    ASSERT_TRUE(state.parts.front()
                    .estimator.Add(scale * StandardNormal(generator, 2048, d) * first.cwiseSqrt().asDiagonal())
                    .ok());
    ASSERT_TRUE(other.parts.front()
                    .estimator.Add(scale * StandardNormal(generator, 512, d) * second.cwiseSqrt().asDiagonal())
                    .ok());
    ASSERT_TRUE(MergeStates(state, std::move(other)).ok());
    const absl::StatusOr<HessianEstimate> estimate =
        EstimateFromState(*DecodeState(EncodeState(state), "memory"), generator, 0.95);
    ASSERT_TRUE(estimate.ok());
    EXPECT_EQ(estimate->gradients, 2560);
    mean += estimate->hessian / kRuns;
    const double upper = estimate->relative_error.upper.value();
    limits.push_back(estimate->eigenvalues(0) * upper / (1 + upper));
    errors.push_back(SpectralNormSymmetric(estimate->hessian - truth));
    covered += errors.back() <= limits.back() ? 1 : 0;
  }
  // One run's error is about 0.25: its mean's 0.015, five of which are 0.07. Weights of .5 or .8 are off by 0.7 or
  // more.
  EXPECT_LT(SpectralNormSymmetric(mean - truth), 0.08);
  // At a true coverage of .95 the chance of 267 (.89) or fewer is below 1e-5.
  EXPECT_GE(covered, 268);
  std::sort(errors.begin(), errors.end());
  std::sort(limits.begin(), limits.end());
  EXPECT_LT(limits[kRuns / 2], 1.4 * errors[kRuns * 95 / 100]);
}

absl::Status Resume(const QueryIdentity& query, const OracleIdentity& oracle, int64_t dimension,
                    const HessianEstimator::Options& options) {
  return CheckResumable(NewState(4, 0, "a"), query, oracle, *HessianEstimator::Create(dimension, options));
}

// Catches: a difference that goes unnoticed, or unnamed.
TEST(EstimatorState, ResumingElsewhereIsRefused) {
  const QueryIdentity query{"covariance", "digest"};
  EXPECT_TRUE(Resume(query, kOracle, 4, Options(77)).ok());
  const auto expect = [](const absl::Status& status, const std::string& field, const std::string& words) {
    EXPECT_THAT(ErrorReason(status), Optional(std::string("STATE_MISMATCH")));
    EXPECT_THAT(ErrorField(status), Optional(field));
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  };
  expect(Resume(query, {"other", "raw", 1000}, 4, Options(0)), "dataset_version",
         "dataset_version 'houses' and 'other'");
  expect(Resume(query, {"houses", "standardised", 1000}, 4, Options(0)), "scaling", "scaling 'raw' and 'standardised'");
  expect(Resume(query, {"houses", "raw", 999}, 4, Options(0)), "row_count", "row_count '1000' and '999'");
  expect(Resume({"active", "digest"}, kOracle, 4, Options(0)), "estimator", "'covariance' and 'active'");
  expect(Resume({"covariance", "else"}, kOracle, 4, Options(0)), "weights", "'digest' and 'else'");
  expect(Resume(query, kOracle, 5, Options(0)), "dimension", "dimension '4' and '5'");
  HessianEstimator::Options options = Options(0);
  options.batch_size = 63;
  options.total_noise_variance = 31;
  expect(Resume(query, kOracle, 4, options), "batch_size", "batch_size '64' and '63'");
  expect(Resume(query, kOracle, 4, options), "batch_size", "total_noise_variance '32' and '31'");
}

TEST(EstimatorState, MergingWhatDoesNotBelongTogetherIsRefused) {
  EstimatorState state = NewState(4, 0, "a");
  const std::string before = EncodeState(state);
  const auto reason = [&](EstimatorState other) {
    const absl::Status status = MergeStates(state, std::move(other));
    EXPECT_EQ(EncodeState(state), before);
    return ErrorReason(status).value_or("");
  };
  EXPECT_EQ(reason(NewState(4, 0, "a")), "STATE_OVERLAP");  // the same gradients twice
  EXPECT_EQ(reason(NewState(5, 0, "b")), "STATE_MISMATCH");
  EXPECT_EQ(reason(NewState(4, 0, "b", {"houses", "standardised", 1000})), "STATE_MISMATCH");
  EstimatorState elsewhere = NewState(4, 0, "b");
  elsewhere.query.weights_digest = "else";
  EXPECT_EQ(reason(elsewhere), "STATE_MISMATCH");
  // Each standardised by its own rows: no units in common. The same oracle twice is fine.
  EstimatorState standardised = NewState(4, 0, "a", {"houses", "standardised", 1000});
  EXPECT_EQ(ErrorReason(MergeStates(standardised, NewState(4, 0, "b", {"flats", "standardised", 1000}))).value_or(""),
            "STATE_MISMATCH");
  EXPECT_TRUE(MergeStates(standardised, NewState(4, 0, "c", {"houses", "standardised", 1000})).ok());
}

TEST(EstimatorState, WeightsDigestIsOfTheValues) {
  EXPECT_EQ(WeightsDigest(Eigen::Vector2d(0.0, 1)), WeightsDigest(Eigen::Vector2d(-0.0, 1)));
  EXPECT_NE(WeightsDigest(Eigen::Vector2d(0.0, 1)), WeightsDigest(Eigen::Vector2d(1, 0.0)));
  EXPECT_NE(WeightsDigest(Eigen::VectorXd::Zero(2)), WeightsDigest(Eigen::VectorXd::Zero(3)));
}

}  // namespace
}  // namespace gradoracle
