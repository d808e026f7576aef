#ifndef GRADORACLE_CORE_REGRESSION_DATA_H_
#define GRADORACLE_CORE_REGRESSION_DATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "Eigen/Core"

namespace gradoracle {

// Row-major, so that one row (one example, one gradient) is contiguous.
using RowMajorMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// A regression data set: the one shape every reader produces and everything else consumes.
struct RegressionData {
  RowMajorMatrix features;                 // X, shape (N, d), finite
  Eigen::VectorXd targets;                 // y, shape (N), finite
  std::vector<std::string> feature_names;  // d distinct names
  std::string target_name;

  int64_t row_count() const { return features.rows(); }
  int64_t dimension() const { return features.cols(); }
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_REGRESSION_DATA_H_
