#include "client/estimation/recorded_gradients.h"

#include <memory>
#include <random>
#include <string>

#include "core/errors.h"
#include "core/npy.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

std::unique_ptr<RecordedGradients> Recorded(const RowMajorMatrix& gradients) {
  const std::string path = ::testing::TempDir() + "/recorded_gradients_test_" +
                           ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".npy";
  EXPECT_TRUE(WriteNpy(path, gradients).ok());
  absl::StatusOr<std::unique_ptr<RecordedGradients>> source = RecordedGradients::Open(path);
  EXPECT_TRUE(source.ok()) << source.status();
  return *std::move(source);
}

// Catches: rows lost or repeated at the edges of blocks (1000 x 100 doubles are four blocks).
TEST(RecordedGradients, DeliversTheFirstGradientsInOrder) {
  std::mt19937_64 generator(1);
  const RowMajorMatrix gradients = StandardNormal(generator, 1000, 100);
  const std::unique_ptr<RecordedGradients> source = Recorded(gradients);
  EXPECT_EQ(source->count(), 1000);
  EXPECT_EQ(source->Info()->dimension, 100);
  GradientQuery query;
  query.count = 900;
  RowMajorMatrix received(0, 100);
  int blocks = 0;
  ASSERT_TRUE(source
                  ->Gradients(query,
                              [&](const Eigen::Ref<const RowMajorMatrix>& block) {
                                RowMajorMatrix longer(received.rows() + block.rows(), 100);
                                longer << received, block;
                                received = longer;
                                ++blocks;
                                return absl::OkStatus();
                              })
                  .ok());
  EXPECT_EQ(received, gradients.topRows(900));
  EXPECT_GT(blocks, 1);
}

TEST(RecordedGradients, StopsWithTheSink) {
  const std::unique_ptr<RecordedGradients> source = Recorded(RowMajorMatrix::Ones(10, 3));
  GradientQuery query;
  query.count = 10;
  const absl::Status status =
      source->Gradients(query, [](const Eigen::Ref<const RowMajorMatrix>&) { return absl::CancelledError("enough"); });
  EXPECT_EQ(status, absl::CancelledError("enough"));
}

TEST(RecordedGradients, RefusesWhatWasNotRecorded) {
  const std::unique_ptr<RecordedGradients> source = Recorded(RowMajorMatrix::Ones(10, 3));
  GradientQuery query;
  const auto sink = [](const Eigen::Ref<const RowMajorMatrix>&) { return absl::OkStatus(); };
  EXPECT_EQ(ErrorReason(source->Gradients(query, sink)), "COUNT_NOT_POSITIVE");
  query.count = 11;
  EXPECT_EQ(ErrorReason(source->Gradients(query, sink)), "COUNT_TOO_LARGE");
  EXPECT_FALSE(RecordedGradients::Open("/nonexistent.npy").ok());
  const std::string path = ::testing::TempDir() + "/recorded_gradients_empty.npy";
  ASSERT_TRUE(WriteNpy(path, RowMajorMatrix::Zero(0, 3)).ok());
  EXPECT_FALSE(RecordedGradients::Open(path).ok());
}

}  // namespace
}  // namespace gradoracle
