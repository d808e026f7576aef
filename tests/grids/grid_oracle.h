#ifndef GRADORACLE_TESTS_GRIDS_GRID_ORACLE_H_
#define GRADORACLE_TESTS_GRIDS_GRID_ORACLE_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "Eigen/Core"
#include "Eigen/QR"
#include "absl/strings/str_cat.h"
#include "core/local_oracle.h"
#include "core/random_stream.h"
#include "core/read_regression_data.h"

namespace gradoracle {

// Reproducible keys: query number k of seed s.
inline LocalGradientSource::KeyGenerator SeededKeys(uint64_t seed) {
  return [seed, number = uint64_t{0}]() mutable -> absl::StatusOr<RequestKey> {
    std::array<uint8_t, 32> bytes = {};
    for (int k = 0; k < 8; ++k) bytes[k] = static_cast<uint8_t>(seed >> (8 * k));
    return ProcessSecret(bytes).DeriveRequestKey("grid", std::to_string(++number), "");
  };
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
  std::exit(1);
}

inline double ExcessRiskOf(const LocalOracle& oracle, const Eigen::VectorXd& weights) {
  const Eigen::VectorXd difference = weights - oracle.fit().weights;
  return 0.5 * difference.dot(oracle.fit().hessian * difference);
}

// Gaussian features with eigenvalues spread geometrically from 1/condition to 1 in random directions, w* spread evenly
// over them (w*'H w* = 1), noise variance 1; the prototypes' synthetic data. Not standardised.
inline RegressionData GaussianData(int64_t rows, int64_t dimension, double condition, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  const auto draw = [&]() { return normal(generator); };
  const Eigen::MatrixXd rotation =
      Eigen::HouseholderQR<Eigen::MatrixXd>(Eigen::MatrixXd::NullaryExpr(dimension, dimension, draw)).householderQ();
  Eigen::VectorXd deviations(dimension);
  for (int64_t j = 0; j < dimension; ++j) {
    deviations(j) =
        std::pow(condition, -0.5 * static_cast<double>(dimension - 1 - j) / static_cast<double>(dimension - 1));
  }
  RegressionData data;
  data.features = RowMajorMatrix::NullaryExpr(rows, dimension, draw) * deviations.asDiagonal() * rotation.transpose();
  const Eigen::VectorXd weights = rotation * (Eigen::VectorXd::NullaryExpr(dimension, draw).array() /
                                              deviations.array() / std::sqrt(static_cast<double>(dimension)))
                                                 .matrix();
  data.targets = data.features * weights + Eigen::VectorXd::NullaryExpr(rows, draw);
  for (int64_t j = 0; j < dimension; ++j) data.feature_names.push_back(absl::StrCat("x", j));
  data.target_name = std::string("y");
  return data;
}

inline double Median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  if (values.size() % 2 == 1 || values[half] > 1e17) return values[half];  // 1e18 stands for never
  return 0.5 * (values[half - 1] + values[half]);
}

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_GRIDS_GRID_ORACLE_H_
