#include "core/gradient_engine.h"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/compute_pool.h"
#include "core/errors.h"
#include "core/normal.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {
std::atomic<int64_t> g_allocations{0};
}  // namespace

// Not inlined: GCC 12 would otherwise see malloc and free apart from new and delete, and warn.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++g_allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace gradoracle {
namespace {

constexpr Sampling kSamplings[] = {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs};
constexpr int64_t kRows = 120;
constexpr int64_t kDimension = 7;

Eigen::VectorXd Normals(int64_t count, uint64_t index) {
  RandomStream stream(RequestKey{21});
  std::vector<uint64_t> words(static_cast<size_t>(count));
  stream.Fill(RandomPurpose::kNoise, index, absl::MakeSpan(words));
  Eigen::VectorXd out(count);
  StandardNormalFromWords(words, absl::MakeSpan(out.data(), words.size()));
  return out;
}

RegressionData MakeData() {
  RegressionData data;
  data.features = Eigen::Map<const RowMajorMatrix>(Normals(kRows * kDimension, 1).data(), kRows, kDimension);
  data.targets = Normals(kRows, 2);
  return data;
}

GradientQuery MakeQuery(int64_t batch_size, int64_t count) {
  GradientQuery query;
  query.weights = Normals(kDimension, 3);
  query.batch_size = batch_size;
  query.count = count;
  return query;
}

// 1/2 mean squared residual, and its gradient.
double Loss(const RegressionData& data, const Eigen::VectorXd& weights) {
  return 0.5 * (data.features * weights - data.targets).squaredNorm() / static_cast<double>(data.row_count());
}
Eigen::VectorXd FullGradient(const RegressionData& data, const Eigen::VectorXd& weights) {
  return data.features.transpose() * (data.features * weights - data.targets) / static_cast<double>(data.row_count());
}

RowMajorMatrix All(const GradientEngine& engine, const GradientQuery& query, const RequestKey& key) {
  absl::StatusOr<GradientStream> stream = engine.Start(query, key);
  EXPECT_TRUE(stream.ok()) << stream.status();
  RowMajorMatrix gradients(query.count, engine.data().dimension());
  stream->Compute(0, gradients);
  return gradients;
}

const RequestKey kKey = {1, 2, 3};

// Catches any step of the chain done otherwise than documented: rows, words of the noise, its deviation, its sign, the
// formula. Each gradient is put together here from the documented parts.
TEST(GradientEngineTest, EveryGradientIsItsDocumentedParts) {
  const RegressionData data = MakeData();
  for (const Sampling sampling : kSamplings) {
    const GradientEngine engine(&data, {sampling, {NoiseRule::kFixed, 1, 2.25}, 0.5});
    const GradientQuery query = MakeQuery(17, 30);
    const RowMajorMatrix gradients = All(engine, query, kKey);
    RandomStream random(kKey);
    RowSampler sampler(sampling, kRows, query.batch_size);
    std::vector<uint32_t> rows(17);
    std::vector<uint64_t> words(17);
    std::vector<double> noise(17);
    for (int64_t k = 0; k < query.count; ++k) {
      sampler.Draw(random, k, absl::MakeSpan(rows));
      random.Fill(RandomPurpose::kNoise, static_cast<uint64_t>(k), absl::MakeSpan(words));
      StandardNormalFromWords(words, absl::MakeSpan(noise));
      Eigen::VectorXd expected = Eigen::VectorXd::Zero(kDimension);
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto x = data.features.row(rows[i]);
        expected += (x.dot(query.weights) - data.targets[rows[i]] - 1.5 * noise[i]) * x.transpose() / 17;
      }
      EXPECT_LE((gradients.row(k).transpose() - expected).norm(), 1e-13 * expected.norm()) << k;
    }
  }
}

// T0. Catches a wrong gradient altogether: without noise the mean over an epoch that visits every row is the full
// gradient, and that is the derivative of the loss by central differences (exact for a quadratic, up to rounding).
TEST(GradientEngineTest, AnEpochAveragesToTheFullGradientWhichIsTheDerivativeOfTheLoss) {
  const RegressionData data = MakeData();
  const GradientEngine engine(&data, {Sampling::kShuffledEpochs, {NoiseRule::kNone, 1, 0}, 0.5});
  const GradientQuery query = MakeQuery(20, 12);  // 6 batches an epoch, 2 epochs
  const RowMajorMatrix gradients = All(engine, query, kKey);
  const Eigen::VectorXd full = FullGradient(data, query.weights);
  for (const int64_t first : {0, 6}) {
    const Eigen::VectorXd mean = gradients.middleRows(first, 6).colwise().mean();
    EXPECT_LE((mean - full).norm(), 1e-12 * full.norm());
    EXPECT_GT((gradients.row(first).transpose() - full).norm(), 1e-3 * full.norm());
  }
  for (int64_t j = 0; j < kDimension; ++j) {
    const double step = 0.5;
    const Eigen::VectorXd e = step * Eigen::VectorXd::Unit(kDimension, j);
    EXPECT_NEAR((Loss(data, query.weights + e) - Loss(data, query.weights - e)) / (2 * step), full[j], 1e-12);
  }
}

// T0. Catches a gradient of other rows than its own: with n = 1 it is parallel to one x_i whatever the noise (threats
// 1).
TEST(GradientEngineTest, ABatchOfOneIsParallelToItsRow) {
  const RegressionData data = MakeData();
  const GradientEngine engine(&data, {Sampling::kIid, {NoiseRule::kFixed, 1, 100.0}, 0.5});
  const RowMajorMatrix gradients = All(engine, MakeQuery(1, 50), kKey);
  RandomStream random(kKey);
  RowSampler sampler(Sampling::kIid, kRows, 1);
  for (int64_t k = 0; k < 50; ++k) {
    uint32_t row = 0;
    sampler.Draw(random, k, {&row, 1});
    const double cosine = gradients.row(k).normalized().dot(data.features.row(row).normalized());
    EXPECT_NEAR(std::fabs(cosine), 1, 1e-14);
  }
}

// T0. Catches answers that depend on chunks, on order, on what was computed before, or on threads (design 4): whatever
// the way, the same bits.
TEST(GradientEngineTest, TheSameBitsWhateverTheChunksOrderAndThreads) {
  const RegressionData data = MakeData();
  for (const Sampling sampling : kSamplings) {
    const GradientEngine engine(&data, {sampling, {NoiseRule::kCalibrated, 1, 0}, 0.5});
    const GradientQuery query = MakeQuery(16, 60);
    const RowMajorMatrix whole = All(engine, query, kKey);
    for (const int64_t chunk : {1, 7, 13, 60}) {
      absl::StatusOr<GradientStream> stream = engine.Start(query, kKey);
      for (int64_t first = (60 - 1) / chunk * chunk; first >= 0; first -= chunk) {  // last chunk first
        RowMajorMatrix block(std::min<int64_t>(chunk, 60 - first), kDimension);
        stream->Compute(first, block);
        EXPECT_EQ(block, whole.middleRows(first, block.rows())) << "chunk " << chunk << " at " << first;
      }
    }
    RowMajorMatrix by_threads(60, kDimension);
    {
      ComputePool pool(3);  // flushes subnormals, too: no gradient here has any
      for (int64_t first = 0; first < 60; first += 4) {
        pool.Schedule([&, first] {
          absl::StatusOr<GradientStream> stream = engine.Start(query, kKey);
          stream->Compute(first, by_threads.middleRows(first, 4));
        });
      }
    }
    EXPECT_EQ(by_threads, whole);
  }
}

// Catches a block with an outer stride written as if it were dense.
TEST(GradientEngineTest, WritesIntoPartOfAWiderMatrix) {
  const RegressionData data = MakeData();
  const GradientEngine engine(&data, {Sampling::kIid, {NoiseRule::kCalibrated, 1, 0}, 0.5});
  const GradientQuery query = MakeQuery(16, 5);
  RowMajorMatrix wide = RowMajorMatrix::Constant(5, kDimension + 3, 77);
  engine.Start(query, kKey)->Compute(0, wide.leftCols(kDimension));
  EXPECT_EQ(wide.leftCols(kDimension), All(engine, query, kKey));
  EXPECT_TRUE((wide.rightCols(3).array() == 77).all());
}

// Catches noise or batches shared between requests, or between gradients of one.
TEST(GradientEngineTest, RequestsAndGradientsShareNothing) {
  const RegressionData data = MakeData();
  for (const Sampling sampling : kSamplings) {
    const GradientEngine engine(&data, {sampling, {NoiseRule::kCalibrated, 1, 0}, 0.5});
    const RowMajorMatrix one = All(engine, MakeQuery(16, 20), kKey), two = All(engine, MakeQuery(16, 20), {9});
    for (int64_t i = 0; i < 20; ++i) {
      for (int64_t k = 0; k < 20; ++k) {
        EXPECT_NE(one.row(i), two.row(k));
        if (i != k) {
          EXPECT_NE(one.row(i), one.row(k));
        }
      }
    }
  }
}

// Catches a rule, a variance factor or a wish of the query taken wrongly. Factors written out: 1, (N-n)/(N-1), and for
// one epoch at most N/(N-1).
TEST(GradientEngineTest, InjectedVarianceFollowsRuleAndSampling) {
  const RegressionData data = MakeData();
  const double sigma2 = 0.5, n = 16, rows = kRows;
  const double factors[] = {1, (rows - n) / (rows - 1), rows / (rows - 1)};
  for (int i = 0; i < 3; ++i) {
    const auto injected = [&](const NoisePolicy& policy, GradientQuery query) {
      const GradientEngine engine(&data, {kSamplings[i], policy, sigma2});
      return engine.Start(query, kKey)->injected_variance();
    };
    const GradientQuery query = MakeQuery(16, 7);
    EXPECT_NEAR(injected({NoiseRule::kCalibrated, 1, 0}, query), n - factors[i] * sigma2, 1e-12);
    EXPECT_NEAR(injected({NoiseRule::kScaled, 3, 0}, query), 3 * n - factors[i] * sigma2, 1e-12);
    EXPECT_NEAR(injected({NoiseRule::kFixed, 1, 2.5}, query), 2.5, 1e-12);
    EXPECT_EQ(injected({NoiseRule::kNone, 1, 0}, query), 0);
    GradientQuery total = query;
    total.total_noise_variance = 9;
    EXPECT_NEAR(injected({NoiseRule::kNone, 1, 0}, total), 9 - factors[i] * sigma2, 1e-12);
    GradientQuery probe = query;
    probe.curvature_probe = true;
    EXPECT_NEAR(injected({NoiseRule::kNone, 1, 0}, probe), n, 1e-12);
  }
}

// Catches noise clamped to zero where the rule is impossible (threats 23).
TEST(GradientEngineTest, AnImpossibleRuleIsRefused) {
  const RegressionData data = MakeData();
  const GradientEngine engine(&data, {Sampling::kIid, {NoiseRule::kCalibrated, 1, 0}, 16.5});
  const auto stream = engine.Start(MakeQuery(16, 5), kKey);
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(stream.status()), "NOISE_RULE_IMPOSSIBLE");
  EXPECT_TRUE(engine.Start(MakeQuery(17, 5), kKey).ok());
}

// Catches a probe that looks at targets or weights (theory 1.4.7): neither changes a bit, and the gradient is X_B'xi/n.
TEST(GradientEngineTest, TheCurvatureProbeSeesNeitherTargetsNorWeights) {
  RegressionData data = MakeData();
  RegressionData other = data;
  other.targets.setConstant(1e6);
  const GradientEngine::Options options = {Sampling::kIid, {NoiseRule::kNone, 1, 0}, 0.5};
  const GradientEngine engine(&data, options), other_engine(&other, options);
  GradientQuery query = MakeQuery(16, 10);
  query.curvature_probe = true;
  const RowMajorMatrix probe = All(engine, query, kKey);
  query.weights.setConstant(50);
  EXPECT_EQ(All(other_engine, query, kKey), probe);

  RandomStream random(kKey);
  RowSampler sampler(Sampling::kIid, kRows, 16);
  std::vector<uint32_t> rows(16);
  std::vector<uint64_t> words(16);
  std::vector<double> noise(16);
  sampler.Draw(random, 0, absl::MakeSpan(rows));
  random.Fill(RandomPurpose::kNoise, 0, absl::MakeSpan(words));
  StandardNormalFromWords(words, absl::MakeSpan(noise));
  Eigen::VectorXd expected = Eigen::VectorXd::Zero(kDimension);
  for (size_t i = 0; i < 16; ++i) expected -= 4 * noise[i] / 16 * data.features.row(rows[i]).transpose();
  EXPECT_LE((probe.row(0).transpose() - expected).norm(), 1e-14 * expected.norm());
}

// Catches memory taken per gradient: after the first, none is.
TEST(GradientEngineTest, NothingIsAllocatedPerGradient) {
  const RegressionData data = MakeData();
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    const GradientEngine engine(&data, {sampling, {NoiseRule::kCalibrated, 1, 0}, 0.5});
    absl::StatusOr<GradientStream> stream = engine.Start(MakeQuery(16, 1000), kKey);
    RowMajorMatrix block(50, kDimension);
    stream->Compute(0, block);
    const int64_t before = g_allocations;
    for (int64_t first = 50; first < 1000; first += 50) stream->Compute(first, block);
    EXPECT_EQ(g_allocations, before);
  }
}

}  // namespace
}  // namespace gradoracle
