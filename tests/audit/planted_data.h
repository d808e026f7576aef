#ifndef GRADORACLE_TESTS_AUDIT_PLANTED_DATA_H_
#define GRADORACLE_TESTS_AUDIT_PLANTED_DATA_H_

#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/local_oracle.h"
#include "gtest/gtest.h"

// Data sets with and without a planted leak.
namespace gradoracle {

// Correlated Gaussian features, y = sum of the first two + noise.
inline RegressionData DenseData(int64_t row_count, int64_t dimension, uint64_t seed = 1) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  RegressionData data;
  data.features = RowMajorMatrix::NullaryExpr(row_count, dimension, [&]() { return normal(generator); });
  for (Eigen::Index j = 1; j < dimension; ++j) data.features.col(j) += 0.5 * data.features.col(j - 1);
  data.targets = data.features.col(0) + data.features.col(1);
  data.targets += Eigen::VectorXd::NullaryExpr(row_count, [&]() { return normal(generator); });
  for (Eigen::Index j = 0; j < dimension; ++j) data.feature_names.push_back(absl::StrCat("x", j));
  data.target_name = std::string("y");  // GCC 12 takes offence at assigning a literal here
  return data;
}

// The same with `categories` one-hot columns in place of the last ones: as evaluations of many lecturers.
inline RegressionData OneHotData(int64_t row_count, int64_t dense, int64_t categories) {
  RegressionData data = DenseData(row_count, dense + categories);
  std::mt19937_64 generator(2);
  std::uniform_int_distribution<int64_t> category(0, categories);  // the last one has no column
  data.features.rightCols(categories).setZero();
  for (int64_t i = 0; i < row_count; ++i) {
    const int64_t one = category(generator);
    if (one < categories) data.features(i, dense + one) = 1;
  }
  return data;
}

inline std::shared_ptr<const LocalOracle> MakeOracle(const RegressionData& data, const OracleOptions& options) {
  absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::FromData(data, options);
  EXPECT_TRUE(oracle.ok()) << oracle.status();
  return oracle.ok() ? std::shared_ptr<const LocalOracle>(*std::move(oracle)) : nullptr;
}

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_AUDIT_PLANTED_DATA_H_
