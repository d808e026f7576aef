// What the random numbers of a gradient cost beside the gradient itself: rows and noise of a (256, 100) gradient
// against the whole, and each part alone.
#include <cstdint>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/gradient_engine.h"
#include "core/huge_pages.h"
#include "core/instruction_set.h"
#include "core/normal.h"
#include "core/normal_variants.h"
#include "core/random_stream.h"
#include "core/sampling.h"
#include "tests/bench/ratio_reporter.h"

namespace gradoracle {
namespace {

constexpr int64_t kRowCount = 100'000;
constexpr int64_t kDimension = 100;
constexpr int64_t kBatchSize = 256;

void BenchmarkWords(benchmark::State& state) {
  RandomStream stream(RequestKey{1});
  std::vector<uint64_t> words(kBatchSize);
  uint64_t index = 0;
  for (auto _ : state) {
    stream.Fill(RandomPurpose::kNoise, index++, absl::MakeSpan(words));
    benchmark::DoNotOptimize(words.data());
  }
}

void BenchmarkNormals(benchmark::State& state, internal::NormalVariant variant) {
  RandomStream stream(RequestKey{1});
  std::vector<uint64_t> words(kBatchSize);
  std::vector<double> noise(kBatchSize);
  stream.Fill(RandomPurpose::kNoise, 0, absl::MakeSpan(words));
  for (auto _ : state) {
    variant(words.data(), noise.data(), words.size());
    benchmark::DoNotOptimize(noise.data());
    benchmark::ClobberMemory();
  }
}

void BenchmarkRows(benchmark::State& state, Sampling sampling) {
  RandomStream stream(RequestKey{1});
  RowSampler sampler(sampling, kRowCount, kBatchSize);
  std::vector<uint32_t> rows(kBatchSize);
  int64_t index = 0;
  for (auto _ : state) {
    sampler.Draw(stream, index++, absl::MakeSpan(rows));
    benchmark::DoNotOptimize(rows.data());
  }
}

void BenchmarkRowsAndNoise(benchmark::State& state) {
  RandomStream stream(RequestKey{1});
  RowSampler sampler(Sampling::kIid, kRowCount, kBatchSize);
  std::vector<uint32_t> rows(kBatchSize);
  std::vector<uint64_t> words(kBatchSize);
  std::vector<double> noise(kBatchSize);
  int64_t index = 0;
  for (auto _ : state) {
    sampler.Draw(stream, index, absl::MakeSpan(rows));
    stream.Fill(RandomPurpose::kNoise, static_cast<uint64_t>(index++), absl::MakeSpan(words));
    StandardNormalFromWords(words, absl::MakeSpan(noise));
    for (double& xi : noise) xi *= 16;
    benchmark::DoNotOptimize(rows.data());
    benchmark::DoNotOptimize(noise.data());
    benchmark::ClobberMemory();
  }
}

void BenchmarkGradient(benchmark::State& state) {
  constexpr int64_t kBlock = 16;
  RegressionData data;
  data.features.resize(kRowCount, kDimension);
  AdviseHugePages(data.features.data(), sizeof(double) * static_cast<size_t>(data.features.size()));
  for (int64_t i = 0; i < data.features.size(); ++i) data.features.data()[i] = static_cast<double>(i % 17) - 8;
  data.targets = data.features.col(0);
  const GradientEngine engine(&data, {});
  GradientQuery query;
  query.weights = Eigen::VectorXd::Ones(kDimension);
  query.batch_size = kBatchSize;
  query.count = int64_t{1} << 40;
  auto stream = engine.Start(query, RequestKey{2});
  RowMajorMatrix block(kBlock, kDimension);
  int64_t first = 0;
  while (state.KeepRunningBatch(kBlock)) {
    stream->Compute(first, block);
    first += kBlock;
    benchmark::DoNotOptimize(block.data());
  }
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  using namespace gradoracle;  // NOLINT: a main of one program
  const auto add = [](const char* name, auto function) { benchmark::RegisterBenchmark(name, function); };
  add("words", BenchmarkWords);
  add("normals-v2", [](benchmark::State& state) { BenchmarkNormals(state, internal::StandardNormalX8664V2); });
  if (internal::CpuSupportsX8664V3()) {
    add("normals-v3", [](benchmark::State& state) { BenchmarkNormals(state, internal::StandardNormalX8664V3); });
  }
  if (internal::CpuSupportsX8664V4()) {
    add("normals-v4", [](benchmark::State& state) { BenchmarkNormals(state, internal::StandardNormalX8664V4); });
  }
  add("rows-iid", [](benchmark::State& state) { BenchmarkRows(state, Sampling::kIid); });
  add("rows-without-replacement", [](benchmark::State& state) { BenchmarkRows(state, Sampling::kWithoutReplacement); });
  add("rows-shuffled-epochs", [](benchmark::State& state) { BenchmarkRows(state, Sampling::kShuffledEpochs); });
  add("rows-and-noise", BenchmarkRowsAndNoise);
  add("gradient", BenchmarkGradient);
  return RunWithRatios(argc, argv,
                       {{"rows and noise / whole gradient (256, 100)", "rows-and-noise", "gradient", 0.15, false}});
}
