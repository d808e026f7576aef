#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "boost/math/distributions/chi_squared.hpp"
#include "core/random_stream.h"
#include "core/sampling.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

constexpr double kFalseAlarm = 1e-7;  // of each statistical check here; the seed is fixed, so this bounds bad luck once

std::vector<uint32_t> DrawOne(RowSampler& sampler, RandomStream& stream, int64_t index, int64_t batch_size) {
  std::vector<uint32_t> rows(static_cast<size_t>(batch_size));
  sampler.Draw(stream, index, absl::MakeSpan(rows));
  return rows;
}

// Pearson's statistic of `counts` against equal expectations, and the largest value it may take.
void ExpectUniform(const std::vector<int64_t>& counts) {
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  const double expected = total / static_cast<double>(counts.size());
  ASSERT_GT(expected, 20) << "too few draws for the chi-square approximation";
  double statistic = 0;
  for (const int64_t count : counts) {
    const double difference = static_cast<double>(count) - expected;
    statistic += difference * difference / expected;
  }
  const boost::math::chi_squared law(static_cast<double>(counts.size() - 1));
  EXPECT_LE(statistic, boost::math::quantile(boost::math::complement(law, kFalseAlarm)));
  EXPECT_GE(statistic, boost::math::quantile(law, kFalseAlarm)) << "more even than chance allows";
}

// Catches an index off by one at either end, and another map from words to rows than floor(word N / 2^64): every row is
// recomputed from the raw words.
TEST(RowSamplerTest, IidRowsAreTheDocumentedFunctionOfTheWords) {
  for (const int64_t row_count : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{1000}, (int64_t{1} << 32) - 1}) {
    RandomStream stream(RequestKey{1});
    const int64_t batch_size = std::min<int64_t>(row_count, 500);
    RowSampler sampler(Sampling::kIid, row_count, batch_size);
    for (int64_t index = 0; index < 5; ++index) {
      const std::vector<uint32_t> rows = DrawOne(sampler, stream, index, batch_size);
      std::vector<uint64_t> words(rows.size());
      stream.Fill(RandomPurpose::kRows, static_cast<uint64_t>(index), absl::MakeSpan(words));
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto expected = static_cast<long double>(words[i]) * static_cast<long double>(row_count) / 0x1p64L;
        ASSERT_EQ(rows[i], static_cast<uint32_t>(expected));
        ASSERT_LT(rows[i], row_count);
      }
    }
  }
}

// Catches rows that are never or twice as often drawn: all three samplings hit each of 50 rows equally often. For
// draws without repetition inside a batch (or epoch) the counts vary less than chi-square says, so those are checked
// by one row a batch (or one batch an epoch).
TEST(RowSamplerTest, RowsAreUniform) {
  constexpr int64_t kRows = 50;
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    constexpr int64_t kBatch = 10;
    RandomStream stream(RequestKey{2});
    RowSampler sampler(sampling, kRows, kBatch);
    for (int64_t position = 0; position < kBatch; position += 3) {
      std::vector<int64_t> counts(kRows);
      for (int64_t k = 0; k < 10'000; ++k) ++counts[DrawOne(sampler, stream, 5 * k, kBatch)[position]];
      ExpectUniform(counts);
    }
  }
}

// Catches a shuffle that favours some orders (the classical wrong Fisher-Yates, which swaps with any place): all 24
// orders of the 4 rows of an epoch, and all 12 ordered pairs drawn without replacement, come equally often.
TEST(RowSamplerTest, AllOrdersAreEquallyLikely) {
  for (const Sampling sampling : {Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    const bool epochs = sampling == Sampling::kShuffledEpochs;
    RandomStream stream(RequestKey{3});
    RowSampler sampler(sampling, 4, 2);
    std::map<std::vector<uint32_t>, int64_t> counts;
    for (int64_t k = 0; k < 24'000; ++k) {
      std::vector<uint32_t> order = DrawOne(sampler, stream, epochs ? 2 * k : k, 2);
      if (epochs) {
        const std::vector<uint32_t> second = DrawOne(sampler, stream, 2 * k + 1, 2);
        order.insert(order.end(), second.begin(), second.end());
      }
      ++counts[order];
    }
    ASSERT_EQ(counts.size(), epochs ? 24u : 12u);
    std::vector<int64_t> values;
    for (const auto& [order, count] : counts) values.push_back(count);
    ExpectUniform(values);
  }
}

// Catches an undo that does not restore the identity: repeated rows in a batch, rows out of range, and a batch that
// depends on what was drawn before (below). iid must repeat: 25 of 50 distinct has probability 2e-9.
TEST(RowSamplerTest, WithoutReplacementRowsAreDistinctAndIidOnesAreNot) {
  RandomStream stream(RequestKey{4});
  RowSampler distinct(Sampling::kWithoutReplacement, 50, 25);
  RowSampler iid(Sampling::kIid, 50, 25);
  for (int64_t k = 0; k < 1000; ++k) {
    const std::vector<uint32_t> rows = DrawOne(distinct, stream, k, 25);
    EXPECT_EQ(std::set<uint32_t>(rows.begin(), rows.end()).size(), 25u);
    EXPECT_LT(*std::max_element(rows.begin(), rows.end()), 50u);
    const std::vector<uint32_t> repeated = DrawOne(iid, stream, k, 25);
    EXPECT_LT(std::set<uint32_t>(repeated.begin(), repeated.end()).size(), 25u);
  }
}

// Catches state carried between draws: backwards, one by one and repeated give what a fresh sampler gives in order.
TEST(RowSamplerTest, RandomAccessEqualsSequentialAccess) {
  constexpr int64_t kRows = 103, kBatch = 10, kCount = 35;  // epochs of 10 batches and 3 rows left over
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    RandomStream stream(RequestKey{5});
    RowSampler forward(sampling, kRows, kBatch), backward(sampling, kRows, kBatch);
    std::vector<std::vector<uint32_t>> batches;
    for (int64_t k = 0; k < kCount; ++k) batches.push_back(DrawOne(forward, stream, k, kBatch));
    for (int64_t k = kCount; k-- > 0;) {
      EXPECT_EQ(DrawOne(backward, stream, k, kBatch), batches[k]);
      RowSampler fresh(sampling, kRows, kBatch);
      EXPECT_EQ(DrawOne(fresh, stream, k, kBatch), batches[k]);
      EXPECT_EQ(DrawOne(backward, stream, k, kBatch), batches[k]);
    }
    EXPECT_EQ(std::set<std::vector<uint32_t>>(batches.begin(), batches.end()).size(), batches.size());
  }
}

// Catches epochs that overlap, skip or repeat rows, and epochs that are all the same.
TEST(RowSamplerTest, EachEpochVisitsDistinctRows) {
  constexpr int64_t kRows = 103, kBatch = 10, kBatchesPerEpoch = 10;
  RandomStream stream(RequestKey{6});
  RowSampler sampler(Sampling::kShuffledEpochs, kRows, kBatch);
  std::set<uint32_t> left_out;
  for (int64_t epoch = 0; epoch < 200; ++epoch) {
    std::set<uint32_t> visited;
    for (int64_t batch = 0; batch < kBatchesPerEpoch; ++batch) {
      const std::vector<uint32_t> rows = DrawOne(sampler, stream, epoch * kBatchesPerEpoch + batch, kBatch);
      visited.insert(rows.begin(), rows.end());
    }
    EXPECT_EQ(visited.size(), 100u);
    EXPECT_LT(*visited.rbegin(), 103u);
    for (uint32_t row = 0; row < kRows; ++row) {
      if (!visited.contains(row)) left_out.insert(row);
    }
  }
  // Every row is left out of some epoch: one given row never is with probability (1 - 3/103)^200 = 0.003, so at least
  // 90 of 103 are (binomial tail below 1e-18).
  EXPECT_GE(left_out.size(), 90u);
}

// Catches a batch that is the same for different requests.
TEST(RowSamplerTest, RequestsHaveTheirOwnRows) {
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    RandomStream one(RequestKey{7}), two(RequestKey{8});
    RowSampler sampler_one(sampling, 1000, 100), sampler_two(sampling, 1000, 100);
    EXPECT_NE(DrawOne(sampler_one, one, 0, 100), DrawOne(sampler_two, two, 0, 100));
  }
}

}  // namespace
}  // namespace gradoracle
