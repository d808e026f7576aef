#ifndef GRADORACLE_CLIENT_AUDIT_SUPPORT_LEAK_H_
#define GRADORACLE_CLIENT_AUDIT_SUPPORT_LEAK_H_

#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "core/regression_data.h"

// Sparse features show through their gradients whatever the noise, which lives on the targets: a category that no row
// of the batch has gives an exact zero in raw units. Standardised, it gives g_j = -(p_j/s_j) * (mean residual), so that
// two absent categories have the constant ratio p_j s_k/(s_j p_k): an atom in a law that is continuous for dense data.
namespace gradoracle {

struct SupportLeak {
  int64_t gradients = 0;
  // Exact zeros among all coordinates, and how many would come from rounding to the replies' grid but once in 10^7.
  double zero_share = 0;
  int64_t zeros = 0;
  int64_t zeros_by_chance = 0;
  // Coordinates that take part in a repeated ratio, and the largest share of gradients in which one repeats.
  std::vector<int64_t> features;
  double repeated_share = 0;

  bool found() const { return zeros > zeros_by_chance || !features.empty(); }
};

// Looks at gradients (m, d) taken at one point with batches of several rows. Ratios are compared among the 64
// coordinates of largest kurtosis, pairs that are nearly collinear (|correlation| > 0.999) left out. An atom: at least
// 20 ratios within a relative 2e-4, and a quarter of those within 1e-2; a law with a density that is level over 1e-2
// gives one with probability below 1e-8 in all.
SupportLeak FindSupportLeak(const RowMajorMatrix& gradients);

// What the owner's rows say about batches of n (uniform, with replacement): the share of (row, batch) pairs in which
// the row alone has a rare value in some column (other than the column's most frequent one), so that its residual can
// be read; and the share of coordinates whose whole batch has the most frequent value. 64 batches are drawn.
struct BatchSupport {
  double readable_residuals = 0;
  double absent_coordinates = 0;
};
BatchSupport MeasureBatchSupport(const RegressionData& data, int64_t batch_size, absl::BitGenRef generator);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_SUPPORT_LEAK_H_
