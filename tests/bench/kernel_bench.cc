// One minibatch gradient: our kernel, the engine around it (rows, noise, kernel) and the peer a user would write with
// Eigen, on the same data, the same batches, in one run.
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/gradient_engine.h"
#include "core/gradient_kernel.h"
#include "core/gradient_kernel_variants.h"
#include "core/huge_pages.h"
#include "core/instruction_set.h"
#include "core/normal.h"
#include "core/random_stream.h"
#include "core/regression_data.h"
#include "tests/bench/eigen_peer.h"
#include "tests/bench/ratio_reporter.h"

namespace gradoracle {
namespace {

struct Shape {
  int64_t batch_size;
  int64_t dimension;
  int64_t row_count;
};

constexpr Shape kShapes[] = {
    {64, 10, 100'000}, {256, 31, 100'000}, {256, 100, 100'000}, {1024, 100, 100'000}, {1024, 1000, 20'000}};
constexpr int64_t kBatches = 512;

// Standard normal features on huge pages as the reader leaves them, and batches drawn beforehand.
struct Problem {
  explicit Problem(const Shape& shape) {
    data.features.resize(shape.row_count, shape.dimension);
    AdviseHugePages(data.features.data(), sizeof(double) * static_cast<size_t>(data.features.size()));
    RandomStream stream(RequestKey{1});
    std::vector<uint64_t> words(static_cast<size_t>(shape.dimension));
    for (int64_t i = 0; i < shape.row_count; ++i) {
      stream.Fill(RandomPurpose::kNoise, static_cast<uint64_t>(i), absl::MakeSpan(words));
      StandardNormalFromWords(words, absl::MakeSpan(data.features.row(i).data(), words.size()));
    }
    data.targets = data.features.col(0);
    weights = Eigen::VectorXd::LinSpaced(shape.dimension, -1, 1);
    RowSampler sampler(Sampling::kIid, shape.row_count, shape.batch_size);
    rows.resize(static_cast<size_t>(kBatches * shape.batch_size));
    for (int64_t k = 0; k < kBatches; ++k) {
      sampler.Draw(stream, k,
                   absl::MakeSpan(rows).subspan(static_cast<size_t>(k * shape.batch_size),
                                                static_cast<size_t>(shape.batch_size)));
    }
    noise.assign(static_cast<size_t>(shape.batch_size), 0.25);
  }

  RegressionData data;
  Eigen::VectorXd weights;
  std::vector<uint32_t> rows;
  std::vector<double> noise;
};

const Problem& ProblemOf(const Shape& shape) {
  static auto* problems = new std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Problem>>;
  std::unique_ptr<Problem>& problem = (*problems)[{shape.row_count, 1'000'000 * shape.batch_size + shape.dimension}];
  if (problem == nullptr) problem = std::make_unique<Problem>(shape);
  return *problem;
}

void BenchmarkKernel(benchmark::State& state, internal::GradientKernelVariant variant, const Shape& shape) {
  const Problem& problem = ProblemOf(shape);
  Eigen::VectorXd gradient(shape.dimension);
  GradientKernelArguments arguments{problem.data.features.data(),
                                    problem.data.targets.data(),
                                    problem.weights.data(),
                                    static_cast<size_t>(shape.dimension),
                                    nullptr,
                                    problem.noise.data(),
                                    static_cast<size_t>(shape.batch_size),
                                    gradient.data()};
  int64_t batch = 0;
  for (auto _ : state) {
    batch = (batch + 1) % kBatches;
    arguments.rows = problem.rows.data() + batch * shape.batch_size;
    variant(arguments);
    benchmark::DoNotOptimize(gradient.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * shape.batch_size * shape.dimension * 8);
}

void BenchmarkEigen(benchmark::State& state, const Shape& shape) {
  const Problem& problem = ProblemOf(shape);
  Eigen::VectorXd gradient(shape.dimension);
  int64_t batch = 0;
  for (auto _ : state) {
    batch = (batch + 1) % kBatches;
    EigenPeerGradient(problem.data.features.data(), problem.data.targets.data(), shape.row_count, shape.dimension,
                      problem.weights.data(), problem.rows.data() + batch * shape.batch_size, problem.noise.data(),
                      shape.batch_size, gradient.data());
    benchmark::DoNotOptimize(gradient.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * shape.batch_size * shape.dimension * 8);
}

void BenchmarkEngine(benchmark::State& state, const Shape& shape) {
  constexpr int64_t kBlock = 16;
  const Problem& problem = ProblemOf(shape);
  const GradientEngine engine(&problem.data, {});
  GradientQuery query;
  query.weights = problem.weights;
  query.batch_size = shape.batch_size;
  query.count = int64_t{1} << 40;
  auto stream = engine.Start(query, RequestKey{2});
  RowMajorMatrix block(kBlock, shape.dimension);
  int64_t first = 0;
  while (state.KeepRunningBatch(kBlock)) {
    stream->Compute(first, block);
    first += kBlock;
    benchmark::DoNotOptimize(block.data());
    benchmark::ClobberMemory();
  }
}

std::string Name(const char* what, const Shape& shape) {
  return std::string(what) + "/n:" + std::to_string(shape.batch_size) + "/d:" + std::to_string(shape.dimension);
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  using namespace gradoracle;  // NOLINT: a main of one program
  std::vector<Ratio> ratios;
  for (const Shape& shape : kShapes) {
    const auto add = [&](const char* what, auto function) {
      benchmark::RegisterBenchmark(Name(what, shape).c_str(), function);
    };
    add("eigen", [&shape](benchmark::State& state) { BenchmarkEigen(state, shape); });
    add("kernel", [&shape](benchmark::State& state) { BenchmarkKernel(state, MinibatchGradient, shape); });
    add("kernel-v2",
        [&shape](benchmark::State& state) { BenchmarkKernel(state, internal::MinibatchGradientX8664V2, shape); });
    if (internal::CpuSupportsX8664V3()) {
      add("kernel-v3",
          [&shape](benchmark::State& state) { BenchmarkKernel(state, internal::MinibatchGradientX8664V3, shape); });
    }
    add("engine", [&shape](benchmark::State& state) { BenchmarkEngine(state, shape); });
    std::optional<double> goal;
    if (shape.dimension == 100 && shape.batch_size == 256) goal = 1.15;
    if (shape.dimension == 1000) goal = 2;
    ratios.push_back({Name("eigen / kernel", shape), Name("eigen", shape), Name("kernel", shape), goal});
    ratios.push_back({Name("eigen / engine (with rows and noise)", shape), Name("eigen", shape), Name("engine", shape),
                      std::nullopt});
  }
  std::printf("kernel: %s\n", GradientKernelName());
  return RunWithRatios(argc, argv, ratios);
}
