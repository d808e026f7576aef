#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/sampling.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

TEST(SamplingNameTest, NamesRoundTrip) {
  for (const char* name : {"iid", "without_replacement", "shuffled_epochs", "poisson"}) {
    const absl::StatusOr<Sampling> sampling = ParseSampling(name);
    ASSERT_TRUE(sampling.ok()) << sampling.status();
    EXPECT_EQ(SamplingName(*sampling), name);
  }
  const absl::Status unknown = ParseSampling("bernoulli").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(unknown), "sampling");
  EXPECT_THAT(std::string(unknown.message()),
              ::testing::HasSubstr("iid, without_replacement, shuffled_epochs, poisson"));
}

// Catches: N/2 rounded up, the limit of iid halved.
TEST(LargestBatchSizeTest, HalfTheRowsUnlessIid) {
  EXPECT_EQ(LargestBatchSize(Sampling::kIid, 7), 7);
  EXPECT_EQ(LargestBatchSize(Sampling::kWithoutReplacement, 7), 3);
  EXPECT_EQ(LargestBatchSize(Sampling::kShuffledEpochs, 8), 4);
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    EXPECT_EQ(LargestBatchSize(sampling, 1), 1);
    EXPECT_EQ(LargestBatchSize(sampling, 0), 0);
  }
}

using Batch = std::vector<size_t>;
using Request = std::vector<double>;  // the batch means of the gradients of a request

// Asymmetric on purpose, with a mean far from zero: a formula that needs a centred or symmetric population fails.
const std::vector<double>& Population() {
  static const std::vector<double> population = {3.0, -1.5, 0.25, 9.0, 4.0, -7.0};
  return population;
}

double BatchMean(const size_t* first, int64_t batch_size) {
  double sum = 0;
  for (int64_t i = 0; i < batch_size; ++i) sum += Population()[first[i]];
  return sum / static_cast<double>(batch_size);
}

double PopulationVariance(int64_t row_count) {
  double mean = 0;
  double squares = 0;
  for (int64_t i = 0; i < row_count; ++i) mean += Population()[static_cast<size_t>(i)] / static_cast<double>(row_count);
  for (int64_t i = 0; i < row_count; ++i) {
    const double distance = Population()[static_cast<size_t>(i)] - mean;
    squares += distance * distance;
  }
  return squares / static_cast<double>(row_count);
}

// Two passes over one request's values; divisor count - 1.
double SampleVariance(const Request& request) {
  const double count = static_cast<double>(request.size());
  const double mean = std::accumulate(request.begin(), request.end(), 0.0) / count;
  double squares = 0;
  for (const double value : request) squares += (value - mean) * (value - mean);
  return squares / (count - 1);
}

// Equally likely outcomes of one independent draw: an iid batch, a batch of distinct rows, or the batches of an epoch.
std::vector<Request> Outcomes(Sampling sampling, int64_t row_count, int64_t batch_size) {
  std::vector<Request> outcomes;
  if (sampling == Sampling::kIid) {
    Batch batch(static_cast<size_t>(batch_size), 0);
    while (true) {
      outcomes.push_back({BatchMean(batch.data(), batch_size)});
      size_t digit = 0;
      while (digit < batch.size() && ++batch[digit] == static_cast<size_t>(row_count)) batch[digit++] = 0;
      if (digit == batch.size()) return outcomes;
    }
  }
  Batch permutation(static_cast<size_t>(row_count));
  std::iota(permutation.begin(), permutation.end(), 0);
  const int64_t batches = sampling == Sampling::kShuffledEpochs ? row_count / batch_size : 1;
  do {
    Request epoch;
    for (int64_t k = 0; k < batches; ++k) epoch.push_back(BatchMean(permutation.data() + k * batch_size, batch_size));
    outcomes.push_back(epoch);
  } while (std::next_permutation(permutation.begin(), permutation.end()));
  return outcomes;
}

// Merges equal outcomes, so that products of epochs stay small: (value, how many).
std::vector<std::pair<Request, double>> Weighted(std::vector<Request> outcomes) {
  std::sort(outcomes.begin(), outcomes.end());
  std::vector<std::pair<Request, double>> weighted;
  for (const Request& outcome : outcomes) {
    if (weighted.empty() || weighted.back().first != outcome) weighted.push_back({outcome, 0});
    weighted.back().second += 1 / static_cast<double>(outcomes.size());
  }
  return weighted;
}

// E(sample variance of `count` gradients), every outcome visited.
double ExpectedSampleVariance(Sampling sampling, int64_t row_count, int64_t batch_size, int64_t count) {
  const auto outcomes = Weighted(Outcomes(sampling, row_count, batch_size));
  double expectation = 0;
  Request request;
  const std::function<void(double)> extend = [&](double probability) {
    const size_t length = request.size();
    if (length >= static_cast<size_t>(count)) {
      expectation += probability * SampleVariance(Request(request.begin(), request.begin() + count));
      return;
    }
    for (const auto& [outcome, weight] : outcomes) {
      request.insert(request.end(), outcome.begin(), outcome.end());
      extend(probability * weight);
      request.resize(length);
    }
  };
  extend(1.0);
  return expectation;
}

struct LawCase {
  Sampling sampling;
  int64_t row_count;
  int64_t batch_size;
  int64_t largest_count;
};

class SamplingVarianceFactorTest : public ::testing::TestWithParam<LawCase> {};

// The factor against full enumeration, to rounding: whole and partial epochs, N divisible by n and not.
// Catches: 1/(N-1) confused with 1/N, a forgotten fpc, epochs taken as independent batches, rows left over by N mod n
// forgotten, the partial epoch treated as whole.
TEST_P(SamplingVarianceFactorTest, IsTheEnumeratedExpectation) {
  const LawCase& c = GetParam();
  const double unit = PopulationVariance(c.row_count) / static_cast<double>(c.batch_size);
  for (int64_t count = 2; count <= c.largest_count; ++count) {
    const double expected = ExpectedSampleVariance(c.sampling, c.row_count, c.batch_size, count) / unit;
    EXPECT_NEAR(SamplingVarianceFactor(c.sampling, c.row_count, c.batch_size, count), expected, 1e-11)
        << "count = " << count;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Laws, SamplingVarianceFactorTest,
    ::testing::Values(LawCase{Sampling::kIid, 5, 2, 4}, LawCase{Sampling::kIid, 4, 1, 6},
                      LawCase{Sampling::kIid, 6, 3, 2}, LawCase{Sampling::kWithoutReplacement, 5, 2, 4},
                      LawCase{Sampling::kWithoutReplacement, 6, 3, 3}, LawCase{Sampling::kWithoutReplacement, 4, 1, 5},
                      LawCase{Sampling::kShuffledEpochs, 5, 2, 6}, LawCase{Sampling::kShuffledEpochs, 6, 2, 7},
                      LawCase{Sampling::kShuffledEpochs, 6, 3, 6}, LawCase{Sampling::kShuffledEpochs, 4, 1, 9},
                      LawCase{Sampling::kShuffledEpochs, 3, 1, 10}),
    [](const ::testing::TestParamInfo<LawCase>& case_info) {
      return std::string(SamplingName(case_info.param.sampling)) + "_N" + std::to_string(case_info.param.row_count) +
             "_n" + std::to_string(case_info.param.batch_size);
    });

TEST(SamplingVarianceFactorFormTest, ClosedForms) {
  EXPECT_EQ(SamplingVarianceFactor(Sampling::kIid, 100, 30, 7), 1.0);
  EXPECT_EQ(SamplingVarianceFactor(Sampling::kWithoutReplacement, 101, 21, 7), 0.8);
  EXPECT_EQ(SamplingVarianceFactor(Sampling::kShuffledEpochs, 101, 21, 4), 1.01);
  EXPECT_EQ(SamplingVarianceFactor(Sampling::kShuffledEpochs, 101, 21, 1), 1.01);
  EXPECT_EQ(SamplingVarianceFactor(Sampling::kShuffledEpochs, 1, 1, 5), 1.0);
  // Many epochs: towards batches of different epochs, (N - n)/(N - 1) + O(1 / epochs).
  EXPECT_NEAR(SamplingVarianceFactor(Sampling::kShuffledEpochs, 101, 21, 1'000'000), 0.8, 1e-5);
}

// Catches: a largest factor that some admissible request exceeds, by which InjectedVariance would refuse a batch size
// that `limits` admits.
TEST(SamplingVarianceFactorFormTest, LargestFactorBoundsEveryRequest) {
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    for (const int64_t row_count : {1, 2, 3, 10, 97, 442, 300000}) {
      for (const int64_t batch_size : {1, 2, 7, 48, 221, 150000}) {
        if (batch_size > LargestBatchSize(sampling, row_count)) continue;
        const double largest = LargestSamplingVarianceFactor(sampling, row_count, batch_size);
        EXPECT_LE(largest, LargestSamplingVarianceFactor(sampling, row_count, 1)) << "never increasing in n";
        for (int64_t count = 1; count < 3'000'000; count = count * 3 / 2 + 1) {
          const double factor = SamplingVarianceFactor(sampling, row_count, batch_size, count);
          EXPECT_LE(factor, largest);
          EXPECT_GT(factor, 0.0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace gradoracle
