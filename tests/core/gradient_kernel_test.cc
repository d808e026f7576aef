#include "core/gradient_kernel.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "core/gradient_kernel_variants.h"
#include "core/instruction_set.h"
#include "core/normal.h"
#include "core/random_stream.h"
#include "core/regression_data.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

struct Variant {
  std::string name;
  internal::GradientKernelVariant function;
};

std::vector<Variant> Variants() {
  std::vector<Variant> variants = {{"chosen", MinibatchGradient}, {"x86-64-v2", internal::MinibatchGradientX8664V2}};
  if (internal::CpuSupportsX8664V3()) variants.push_back({"x86-64-v3", internal::MinibatchGradientX8664V3});
  if (internal::CpuSupportsX8664V4()) variants.push_back({"x86-64-v4", internal::MinibatchGradientX8664V4});
  return variants;
}

Eigen::VectorXd Normals(int64_t count, uint64_t index) {
  RandomStream stream(RequestKey{11});
  std::vector<uint64_t> words(static_cast<size_t>(count));
  stream.Fill(RandomPurpose::kNoise, index, absl::MakeSpan(words));
  Eigen::VectorXd out(count);
  StandardNormalFromWords(words, absl::MakeSpan(out.data(), words.size()));
  return out;
}

// A data set and one batch of it. The features are exactly as large as they are said to be, on the heap, so that
// AddressSanitizer sees a read beyond the last row.
struct Problem {
  Problem(int64_t row_count, int64_t dimension, int64_t batch_size)
      : features(row_count, dimension),
        targets(Normals(row_count, 2)),
        weights(Normals(dimension, 3)),
        noise(Normals(batch_size, 4)) {
    Eigen::Map<Eigen::VectorXd>(features.data(), features.size()) = Normals(features.size(), 1);
    for (int64_t i = 0; i < batch_size; ++i) {  // first and last row are always there
      rows.push_back(static_cast<uint32_t>(i == 0 ? row_count - 1 : (i * 7919) % row_count));
    }
  }

  Eigen::VectorXd Run(internal::GradientKernelVariant variant, bool with_targets, bool with_noise) const {
    constexpr double kGuard = 1e300;
    std::vector<double> out(static_cast<size_t>(features.cols()) + 1, std::numeric_limits<double>::quiet_NaN());
    out.back() = kGuard;
    GradientKernelArguments arguments{};
    arguments.features = features.data();
    arguments.targets = with_targets ? targets.data() : nullptr;
    arguments.weights = weights.data();
    arguments.dimension = static_cast<size_t>(features.cols());
    arguments.rows = rows.data();
    arguments.noise = with_noise ? noise.data() : nullptr;
    arguments.batch_size = rows.size();
    arguments.gradient = out.data();
    variant(arguments);
    EXPECT_EQ(out.back(), kGuard) << "wrote past the gradient";
    return Eigen::Map<Eigen::VectorXd>(out.data(), features.cols());
  }

  // The definition, row by row in long double; `magnitude` gets the same with absolute values: what rounding scales
  // with.
  Eigen::VectorXd Reference(bool with_targets, bool with_noise, Eigen::VectorXd& magnitude) const {
    using LongVector = Eigen::Matrix<long double, Eigen::Dynamic, 1>;
    LongVector sum = LongVector::Zero(features.cols()), absolute = LongVector::Zero(features.cols());
    for (size_t i = 0; i < rows.size(); ++i) {
      const LongVector x = features.row(rows[i]).cast<long double>();
      long double residual = with_noise ? -noise[i] : 0;
      long double scale = std::fabs(residual);
      if (with_targets) {
        residual += x.dot(weights.cast<long double>()) - targets[rows[i]];
        scale += x.cwiseAbs().dot(weights.cast<long double>().cwiseAbs()) + std::fabs(targets[rows[i]]);
      }
      sum += residual * x;
      absolute += scale * x.cwiseAbs();
    }
    const auto n = static_cast<long double>(rows.size());
    magnitude = (absolute / n).cast<double>();
    return (sum / n).cast<double>();
  }

  RowMajorMatrix features;
  Eigen::VectorXd targets;
  Eigen::VectorXd weights;
  Eigen::VectorXd noise;
  std::vector<uint32_t> rows;
};

void ExpectDefinition(int64_t row_count, int64_t dimension, int64_t batch_size) {
  const Problem problem(row_count, dimension, batch_size);
  for (const bool with_targets : {true, false}) {
    for (const bool with_noise : {true, false}) {
      Eigen::VectorXd magnitude;
      const Eigen::VectorXd expected = problem.Reference(with_targets, with_noise, magnitude);
      // Worst case of summing d, then n terms: (d + n + 3) eps; rounding being random, its square root is ample.
      const double epsilon = std::numeric_limits<double>::epsilon();
      const double tolerance = 4 * epsilon * std::sqrt(static_cast<double>(dimension + batch_size));
      for (const Variant& variant : Variants()) {
        const Eigen::VectorXd actual = problem.Run(variant.function, with_targets, with_noise);
        for (int64_t j = 0; j < dimension; ++j) {
          ASSERT_LE(std::fabs(actual[j] - expected[j]), tolerance * magnitude[j])
              << variant.name << " d=" << dimension << " n=" << batch_size << " targets=" << with_targets
              << " noise=" << with_noise << " coordinate " << j;
        }
      }
    }
  }
}

// Catches a wrong tail of columns (every remainder of 2, 4, 8), a wrong group of rows, a missing 1/n, a wrong sign of
// target or noise, and variants that differ from the definition by more than rounding.
TEST(GradientKernelTest, EqualsTheDefinitionInEveryDimension) {
  for (int64_t dimension = 1; dimension <= 130; ++dimension) {
    for (const int64_t batch_size : {1, 3, 8, 13}) ExpectDefinition(37, dimension, batch_size);
  }
}

TEST(GradientKernelTest, EqualsTheDefinitionAtEveryBatchSize) {
  for (int64_t batch_size = 1; batch_size <= 70; ++batch_size) {
    for (const int64_t dimension : {1, 5, 16, 31}) ExpectDefinition(37, dimension, batch_size);
  }
}

// Both sides of where the number of rows in a group changes.
TEST(GradientKernelTest, EqualsTheDefinitionInHighDimension) {
  for (const int64_t dimension : {255, 256, 257, 511, 512, 513, 1000, 1023}) {
    for (const int64_t batch_size : {1, 7, 64, 70}) ExpectDefinition(100, dimension, batch_size);
  }
}

// Catches 32-bit products of row and dimension: row 2^19 + 1 of 2^13 columns begins at double 2^32 + 2^13. (Untouched
// memory stays unmapped, so this costs a few pages.)
TEST(GradientKernelTest, AddressesBeyondFourGibibytes) {
  const size_t dimension = size_t{1} << 13, row_count = (size_t{1} << 19) + 2;
  const size_t bytes = row_count * dimension * sizeof(double);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no 32 GiB of address space";
  auto* const features = static_cast<double*>(memory);
  const uint32_t row = static_cast<uint32_t>(row_count - 1);
  features[row * dimension] = 3;
  const double noise = -2;
  std::vector<double> gradient(dimension);
  for (const Variant& variant : Variants()) {
    variant.function({features, nullptr, nullptr, dimension, &row, &noise, 1, gradient.data()});
    EXPECT_EQ(gradient[0], 6) << variant.name;
    EXPECT_EQ(gradient[1], 0) << variant.name;
  }
  munmap(memory, bytes);
}

// Catches results that depend on memory: the same request has the same bits wherever its rows and output lie.
TEST(GradientKernelTest, BitsDoNotDependOnAlignment) {
  const Problem problem(100, 37, 61);
  for (const Variant& variant : Variants()) {
    const Eigen::VectorXd expected = problem.Run(variant.function, true, true);
    for (size_t offset = 1; offset < 8; ++offset) {
      std::vector<double> shifted(static_cast<size_t>(problem.features.size()) + offset);
      std::copy_n(problem.features.data(), problem.features.size(), shifted.begin() + static_cast<int64_t>(offset));
      std::vector<double> out(37 + offset);
      variant.function({shifted.data() + offset, problem.targets.data(), problem.weights.data(), 37,
                        problem.rows.data(), problem.noise.data(), 61, out.data() + offset});
      for (int64_t j = 0; j < 37; ++j) ASSERT_EQ(out[offset + j], expected[j]) << variant.name;
    }
  }
}

// Catches a dispatch that picks less than the processor can do, or that says another name than it runs.
TEST(GradientKernelTest, PicksTheWidestVariant) {
  const Problem problem(100, 37, 61);
  const std::vector<Variant> variants = Variants();
  EXPECT_EQ(GradientKernelName(), variants.back().name);
  EXPECT_EQ(problem.Run(MinibatchGradient, true, true), problem.Run(variants.back().function, true, true));
}

}  // namespace
}  // namespace gradoracle
