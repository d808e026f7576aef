// Does the error limit cover, and is it tight? One row of a markdown table for each cell of
// {spectrum} x {batch size} x {dimension}: the share of runs in which ||H_hat - E H_hat||_2 stays below the limit U,
// and the median of U over the true 95 % quantile of the error. `--check` fails when a cell covers less than .93, or
// its ratio exceeds 1.3. docs/error-bars.md says what came of it.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/estimation/hessian_estimator.h"
#include "core/error_norm.h"
#include "tests/grids/gradient_populations.h"

namespace gradoracle {
namespace {

constexpr double kLevel = 0.95;

struct Cell {
  std::string spectrum;
  int64_t batch_size = 0;
  int64_t dimension = 0;
  int64_t count = 0;
  bool unit_diagonal = false;
  int runs = 0;
};

struct Result {
  double coverage = 0;
  double ratio = 0;          // median limit / 95 % quantile of the error
  double error = 0;          // that quantile, relative to ||H||
  double without_limit = 0;  // share of the runs whose limit was null: they count as covered, and as infinite
};

// U from the relative limit U/(||H_hat|| - U); infinite where there is none.
double AbsoluteLimit(const HessianEstimate& estimate) {
  if (!estimate.relative_error.upper.has_value()) return std::numeric_limits<double>::infinity();
  const double relative = *estimate.relative_error.upper;
  return estimate.eigenvalues(0) * relative / (1 + relative);
}

Result Run(const Cell& cell, uint64_t seed) {
  const std::unique_ptr<GradientPopulation> population =
      cell.spectrum == "house"
          ? MakeHousePopulation(cell.dimension, cell.batch_size)
          : MakeGaussianPopulation(SpectrumVariances(cell.spectrum, cell.dimension), cell.batch_size);
  Eigen::MatrixXd truth = population->Truth();
  if (cell.unit_diagonal) {
    const Eigen::VectorXd scale = truth.diagonal().cwiseSqrt().cwiseInverse();
    truth = scale.asDiagonal() * truth * scale.asDiagonal();
  }
  HessianEstimator::Options options;
  options.batch_size = cell.batch_size;
  options.total_noise_variance = static_cast<double>(cell.batch_size);
  options.expected_count = cell.count;
  options.unit_diagonal_known = options.impose_unit_diagonal = cell.unit_diagonal;
  std::mt19937_64 generator(seed);
  std::vector<double> errors, limits;
  Result result;
  for (int run = 0; run < cell.runs; ++run) {
    absl::StatusOr<HessianEstimator> estimator = HessianEstimator::Create(cell.dimension, options);
    if (absl::Status added = estimator->Add(population->Draw(generator, cell.count)); !added.ok()) std::abort();
    const absl::StatusOr<HessianEstimate> estimate = estimator->Estimate(generator, kLevel);
    errors.push_back(SpectralNormSymmetric(estimate->hessian - truth));
    limits.push_back(AbsoluteLimit(*estimate));
    result.coverage += errors.back() <= limits.back() ? 1.0 / cell.runs : 0;
    result.without_limit += std::isinf(limits.back()) ? 1.0 / cell.runs : 0;
  }
  std::sort(errors.begin(), errors.end());
  std::sort(limits.begin(), limits.end());
  const double quantile = errors[errors.size() * 95 / 100];
  result.ratio = limits[limits.size() / 2] / quantile;
  result.error = quantile / SpectralNormSymmetric(truth);
  return result;
}

// Enough for a relative error of about a half or less.
constexpr int64_t kGradientsPerDimension = 32;

template <typename Number>
std::vector<Number> Numbers(const std::string& text) {
  std::vector<Number> numbers;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (!absl::SimpleAtoi(part, &numbers.emplace_back())) {
      std::cerr << "'" << part << "' is not a whole number\n";
      std::exit(2);
    }
  }
  return numbers;
}

int Main(int argc, char** argv) {
  std::string spectra = "identity,1/j,5 spikes,house", batch_sizes = "1,5,256", dimensions = "10,50,200", count,
              runs = "1000";
  std::string seed = "1";
  bool check = false, unit_diagonal = false;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--check") {
      check = true;
    } else if (flag == "--unit-diagonal") {
      unit_diagonal = true;
    } else if (i + 1 < argc && flag == "--spectra") {
      spectra = argv[++i];
    } else if (i + 1 < argc && flag == "--batch-sizes") {
      batch_sizes = argv[++i];
    } else if (i + 1 < argc && flag == "--dimensions") {
      dimensions = argv[++i];
    } else if (i + 1 < argc && flag == "--count") {
      count = argv[++i];
    } else if (i + 1 < argc && flag == "--runs") {
      runs = argv[++i];
    } else if (i + 1 < argc && flag == "--seed") {
      seed = argv[++i];
    } else {
      std::cerr
          << "usage: coverage_grid [--spectra identity,1/j,...] [--batch-sizes 1,5,256] [--dimensions 10,50,200]\n"
             "         [--count M] [--runs R] [--seed S] [--unit-diagonal] [--check]\n";
      return 2;
    }
  }
  std::cout << "| spectrum | n | d | m | runs | coverage | limit / quantile | quantile / norm | no limit |\n"
               "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  bool fine = true;
  for (const int64_t dimension : Numbers<int64_t>(dimensions)) {
    for (const absl::string_view spectrum : absl::StrSplit(spectra, ',')) {
      for (const int64_t batch_size : Numbers<int64_t>(batch_sizes)) {
        const std::string name(spectrum);
        const Cell cell{
            name,          batch_size,
            dimension,     count.empty() ? kGradientsPerDimension * dimension : Numbers<int64_t>(count).front(),
            unit_diagonal, Numbers<int>(runs).front()};
        const Result result = Run(cell, Numbers<uint64_t>(seed).front());
        std::cout << absl::StrFormat("| %s | %d | %d | %d | %d | %.3f | %.2f | %.2f | %.3f |\n", name, batch_size,
                                     dimension, cell.count, cell.runs, result.coverage, result.ratio, result.error,
                                     result.without_limit)
                  << std::flush;
        fine = fine && result.coverage >= 0.93 && result.ratio <= 1.3;
      }
    }
  }
  return check && !fine ? 1 : 0;
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) { return gradoracle::Main(argc, argv); }
