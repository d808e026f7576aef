#include "server/service/gradient_writer.h"

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "server/ledger/open_ledger.h"

namespace gradoracle {
namespace {

RegressionData Data() {
  RegressionData data;
  data.features = RowMajorMatrix::Random(100, 3);
  data.targets = Eigen::VectorXd::Random(100);
  return data;
}

OracleInfo Info() {
  OracleInfo info;
  info.dimension = 3;
  info.row_count = 100;
  info.limits.max_batch_size = 100;
  return info;
}

struct GradientWriterTest : testing::Test {
  std::unique_ptr<GradientWriter> Writer() {
    GradientQuery query;
    query.weights = Eigen::Vector3d(1, 2, 3);
    query.batch_size = 32;
    query.count = 10;
    auto admitted = admission.Admit("anonymous", query, 0);
    auto stream = engine.Start(query, (*admitted)->key());
    return std::make_unique<GradientWriter>(*std::move(admitted), *std::move(stream), ElementType::kFloat64, &cancelled,
                                            [this](int64_t, int64_t count) { computed += count; });
  }
  const RegressionData data = Data();
  const GradientEngine engine{&data, {Sampling::kIid, NoisePolicy(), /*residual_variance=*/0.25}};
  const std::unique_ptr<Ledger> ledger = OpenLedger({.unlimited_principal = "anonymous"}).value();
  Admission admission{Info(), ProcessSecret(std::array<uint8_t, 32>{}), ledger.get(), {}};
  std::atomic<bool> cancelled{false};
  int64_t computed = 0;
  std::string payload;
};

TEST_F(GradientWriterTest, ComputesWhatItWrites) {
  const auto writer = Writer();
  ASSERT_TRUE(writer->Write(0, 4, payload).ok());
  EXPECT_EQ(payload.size(), 4 * 3 * sizeof(double));
  EXPECT_EQ(computed, 4);
}

TEST_F(GradientWriterTest, ComputesNothingOnceCancelled) {
  const auto writer = Writer();
  cancelled = true;
  EXPECT_EQ(writer->Write(0, 4, payload).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(computed, 0);
}

}  // namespace
}  // namespace gradoracle
