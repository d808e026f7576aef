#ifndef GRADORACLE_CLIENT_ESTIMATION_SCATTER_FACTOR_H_
#define GRADORACLE_CLIENT_ESTIMATION_SCATTER_FACTOR_H_

#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "core/regression_data.h"

namespace gradoracle {

// The scatter about the mean of m gradients as a product of few rows,
//   0 <= scatter - rows'rows <= deficit I.
struct ScatterFactor {
  int64_t count = 0;     // m
  Eigen::VectorXd mean;  // (d)
  RowMajorMatrix rows;   // (k, d), orthogonal, longest first
  double trace = 0;      // of the scatter, exact up to rounding
  double deficit = 0;    // 0 for an exact factor
  // Spectral norms of random split differences of scatter / (m - 1) (split_limit.h), each right to +-split_deficit;
  // empty when there were too few gradients.
  std::vector<double> split_norms;
  double split_deficit = 0;
  double kurtosis_share = 1;  // of the gradients' kurtosis, what a difference sees of it (split_limit.h)
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SCATTER_FACTOR_H_
