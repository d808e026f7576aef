#include "client/estimation/streaming_covariance.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

// Two passes in extended precision: the reference for everything here.
struct Reference {
  Eigen::VectorXd mean;
  Eigen::MatrixXd scatter;
};

Reference TwoPass(const RowMajorMatrix& rows) {
  using Extended = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;
  const Extended wide = rows.cast<long double>();
  const Eigen::Matrix<long double, 1, Eigen::Dynamic> mean = wide.colwise().mean();
  const Extended centred = wide.rowwise() - mean;
  return {mean.transpose().cast<double>(), (centred.transpose() * centred).cast<double>()};
}

double RelativeDifference(const Eigen::MatrixXd& a, const Eigen::MatrixXd& b) { return (a - b).norm() / b.norm(); }

void AddInChunks(const RowMajorMatrix& rows, int64_t chunk, StreamingCovariance& covariance) {
  for (int64_t begin = 0; begin < rows.rows(); begin += chunk) {
    ASSERT_TRUE(covariance.Add(rows.middleRows(begin, std::min<int64_t>(chunk, rows.rows() - begin))).ok());
  }
}

struct Case {
  std::string name;
  int64_t dimension;
  int64_t count;
  int64_t block_size;
  int64_t chunk;
  double mean;  // of every entry, in standard deviations
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

class AnyStream : public ::testing::TestWithParam<Case> {};

// Catches: a piece counted twice or dropped at a block's end, Chan's term wrong or missing (between blocks, within a
// block, between rows squared in place and rows centred in the buffer), cancellation far from zero, a triangle of a
// slot overwriting its neighbour.
TEST_P(AnyStream, EqualsTwoPasses) {
  std::mt19937_64 generator(1);
  RowMajorMatrix rows = StandardNormal(generator, GetParam().count, GetParam().dimension);
  rows.array() += GetParam().mean;
  StreamingCovariance covariance(GetParam().dimension, GetParam().block_size);
  AddInChunks(rows, GetParam().chunk, covariance);
  const Reference reference = TwoPass(rows);
  EXPECT_EQ(covariance.count(), GetParam().count);
  // A mean of M deviations is itself rounded to M eps deviations, in each entry given.
  const double tolerance = 1e-12 + 8e-16 * GetParam().mean;
  EXPECT_LE(RelativeDifference(covariance.Scatter(), reference.scatter), tolerance);
  EXPECT_LE((covariance.Mean() - reference.mean).cwiseAbs().maxCoeff(), 1e-13 * (1 + GetParam().mean));
  EXPECT_EQ(covariance.Scatter(), covariance.Scatter().transpose());
}

INSTANTIATE_TEST_SUITE_P(
    All, AnyStream,
    ::testing::Values(Case{"OneGradientAtATime", 5, 300, 7, 1, 0}, Case{"AllAtOnce", 5, 300, 7, 300, 0},
                      Case{"SquaredInPlace", 31, 4096, 512, 1057, 0},
                      Case{"SquaredInPlaceOffZero", 31, 4096, 512, 1057, 5},
                      Case{"InPlaceAndBufferMixed", 31, 4096, 100, 83, 3},
                      Case{"FarFromZero", 31, 4096, 512, 1057, 100}, Case{"VeryFarFromZero", 7, 3000, 256, 400, 1e6},
                      Case{"LargeDimension", 300, 1500, 64, 100, 0},
                      Case{"LargeDimensionBlockBeyondBuffer", 260, 1500, 700, 333, 2},
                      Case{"OneDimension", 1, 500, 8, 13, 4}, Case{"TwoGradients", 3, 2, 256, 2, 0},
                      Case{"FewerThanABlock", 12, 100, 256, 30, 1}, Case{"BlocksOfTwo", 9, 101, 2, 10, 0}),
    CaseName);

// Catches: state that depends on how the stream was cut, beyond rounding.
TEST(StreamingCovariance, AnyChunkingGivesTheSameToRounding) {
  std::mt19937_64 generator(2);
  RowMajorMatrix rows = StandardNormal(generator, 2000, 17);
  rows.rowwise() += Eigen::RowVectorXd::LinSpaced(17, -30, 30);  // some columns near zero, some far
  StreamingCovariance whole(17, 61);
  ASSERT_TRUE(whole.Add(rows).ok());
  for (const int64_t chunk : {1, 3, 60, 61, 62, 64, 500}) {
    StreamingCovariance chunked(17, 61);
    AddInChunks(rows, chunk, chunked);
    EXPECT_LE(RelativeDifference(chunked.Scatter(), whole.Scatter()), 1e-12) << "chunk " << chunk;
    for (int group = 0; group < ScatterGroups::kGroups; ++group) {
      EXPECT_EQ(chunked.groups().degrees_of_freedom(group), whole.groups().degrees_of_freedom(group));
    }
  }
}

// Catches: Merge losing a pending row, an open block, or the scatter between the two streams.
TEST(StreamingCovariance, MergedPartsEqualOneStream) {
  std::mt19937_64 generator(3);
  RowMajorMatrix rows = StandardNormal(generator, 3000, 11);
  rows.bottomRows(1000).array() += 2.5;  // so that the scatter between the parts matters
  const Reference reference = TwoPass(rows);
  for (const std::vector<int64_t>& cuts :
       std::vector<std::vector<int64_t>>{{0, 1500, 3000}, {0, 1, 3000}, {0, 0, 3000}, {0, 7, 2000, 2000, 2999, 3000}}) {
    StreamingCovariance merged(11, 32);
    for (size_t part = 0; part + 1 < cuts.size(); ++part) {
      StreamingCovariance other(11,
                                part % 2 == 0 ? 5 : 7);  // more than 64 blocks: some scatter between them is settled
      AddInChunks(rows.middleRows(cuts[part], cuts[part + 1] - cuts[part]), 83, other);
      ASSERT_TRUE(merged.Merge(other).ok());
    }
    EXPECT_EQ(merged.count(), 3000);
    EXPECT_LE(RelativeDifference(merged.Scatter(), reference.scatter), 1e-12);
    EXPECT_LE((merged.Mean() - reference.mean).norm(), 1e-13);
  }
}

// Catches: merging into a stream with an open block, and going on afterwards.
TEST(StreamingCovariance, GoesOnAfterMerge) {
  std::mt19937_64 generator(4);
  const RowMajorMatrix rows = StandardNormal(generator, 900, 6).array() + 1;
  StreamingCovariance first(6, 32), second(6, 32);
  ASSERT_TRUE(first.Add(rows.topRows(333)).ok());
  ASSERT_TRUE(second.Add(rows.middleRows(333, 333)).ok());
  ASSERT_TRUE(first.Merge(second).ok());
  ASSERT_TRUE(first.Add(rows.bottomRows(234)).ok());
  EXPECT_LE(RelativeDifference(first.Scatter(), TwoPass(rows).scatter), 1e-12);
  EXPECT_LE((first.Mean() - TwoPass(rows).mean).norm(), 1e-14);
}

// Catches: a NaN or infinity let in, or part of its chunk added.
TEST(StreamingCovariance, RefusesAChunkWithANonFiniteEntryWhole) {
  std::mt19937_64 generator(5);
  const RowMajorMatrix good = StandardNormal(generator, 200, 4);
  for (const double poison : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                              -std::numeric_limits<double>::infinity()}) {
    StreamingCovariance covariance(4, 16);
    ASSERT_TRUE(covariance.Add(good).ok());
    const Eigen::MatrixXd before = covariance.Scatter();
    RowMajorMatrix bad = good;
    bad(150, 2) = poison;
    const absl::Status status = covariance.Add(bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(status), "NOT_FINITE");
    EXPECT_THAT(std::string(status.message()), HasSubstr("entry 2 of gradient 150"));
    EXPECT_EQ(covariance.count(), 200);
    EXPECT_EQ(covariance.Scatter(), before);
  }
}

TEST(StreamingCovariance, RefusesAnotherDimension) {
  StreamingCovariance covariance(4, 16);
  EXPECT_EQ(ErrorReason(covariance.Add(RowMajorMatrix::Zero(3, 5))), "DIMENSION_MISMATCH");
  EXPECT_EQ(ErrorReason(covariance.Merge(StreamingCovariance(5, 16))), "DIMENSION_MISMATCH");
  EXPECT_TRUE(covariance.Add(RowMajorMatrix::Zero(0, 4)).ok());
  EXPECT_EQ(covariance.count(), 0);
}

// Catches: rows read with the wrong stride. The block is the middle of a wider matrix.
TEST(StreamingCovariance, ReadsABlockOfAWiderMatrix) {
  std::mt19937_64 generator(6);
  const RowMajorMatrix wide = StandardNormal(generator, 500, 12);
  StreamingCovariance covariance(5, 64);
  ASSERT_TRUE(covariance.Add(wide.middleCols(3, 5)).ok());
  EXPECT_LE(RelativeDifference(covariance.Scatter(), TwoPass(wide.middleCols(3, 5)).scatter), 1e-13);
}

// Catches: a pair's halves in one group, a slot never used, and the order not alternating from round to round.
TEST(ScatterGroups, PairsFillSlotsInTurnAndAlternate) {
  std::vector<int> seen(ScatterGroups::kGroups, 0);
  for (int64_t block = 0; block < 2 * ScatterGroups::kGroups; ++block) ++seen[ScatterGroups::GroupOfBlock(block)];
  EXPECT_THAT(seen, ::testing::Each(2));
  for (int64_t block = 0; block < 200; block += 2) {
    EXPECT_EQ(ScatterGroups::GroupOfBlock(block) ^ 1, ScatterGroups::GroupOfBlock(block + 1));
    EXPECT_EQ(ScatterGroups::GroupOfBlock(block) ^ 1, ScatterGroups::GroupOfBlock(block + ScatterGroups::kGroups));
  }
}

}  // namespace
}  // namespace gradoracle
