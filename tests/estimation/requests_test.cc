#include "client/estimation/requests.h"

#include <string>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

// Blocks of two rows of ones; `failure` instead of the block after `good` of them.
class Blocks : public GradientSource {
 public:
  absl::StatusOr<OracleInfo> Info() override { return OracleInfo(); }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    for (int64_t done = 0; done < query.count; done += 2) {
      if (done / 2 == good) return failure;
      if (absl::Status status = sink(RowMajorMatrix::Ones(2, columns)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  int64_t columns = 3;
  int64_t good = -1;
  absl::Status failure = absl::OkStatus();
};

GradientQuery Query(int64_t count) {
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(3);
  query.batch_size = 8;
  query.count = count;
  return query;
}

// Catches: a matrix of rows that nobody sent, or one without columns, after a stop before the first block.
TEST(Requests, StoppedAtOnceIsAMatrixOfNoRows) {
  Blocks blocks;
  blocks.good = 0;
  blocks.failure = absl::CancelledError("cancelled");
  Requests requests(blocks, 100, [](int64_t) { return false; });
  const absl::StatusOr<RowMajorMatrix> gradients = requests.Fetch(Query(10));
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  EXPECT_TRUE(requests.stopped());
  EXPECT_EQ(gradients->rows(), 0);
  EXPECT_EQ(gradients->cols(), 3);
  // And nothing more is asked for.
  blocks.good = -1;
  EXPECT_EQ(requests.Fetch(Query(10))->rows(), 0);
  EXPECT_EQ(requests.gathered(), 0);
}

TEST(Requests, StoppedMidwayIsWhatCame) {
  Blocks blocks;
  Requests requests(blocks, 100, [](int64_t gathered) { return gathered < 4; });
  const absl::StatusOr<RowMajorMatrix> gradients = requests.Fetch(Query(10));
  ASSERT_TRUE(gradients.ok());
  EXPECT_EQ(gradients->rows(), 4);
  EXPECT_TRUE(gradients->isOnes());
}

// Catches: fewer gradients than asked for, or wider ones, taken for an answer; more asked for than may be spent.
TEST(Requests, WrongAnswersAreErrors) {
  Blocks blocks;
  blocks.good = 2;
  Requests requests(blocks, 100, {});
  EXPECT_EQ(ErrorReason(requests.Fetch(Query(10)).status()), "COUNT_MISMATCH");
  blocks.good = -1;
  EXPECT_EQ(ErrorReason(requests.Fetch(Query(9)).status()), "COUNT_MISMATCH");
  EXPECT_EQ(requests.Fetch(Query(1000)).status().code(), absl::StatusCode::kInternal);
  blocks.good = 1;
  blocks.failure = absl::UnavailableError("gone");
  EXPECT_EQ(requests.Fetch(Query(10)).status().message(), "gone");
}

}  // namespace
}  // namespace gradoracle
