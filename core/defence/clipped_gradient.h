#ifndef GRADORACLE_CORE_DEFENCE_CLIPPED_GRADIENT_H_
#define GRADORACLE_CORE_DEFENCE_CLIPPED_GRADIENT_H_

#include <cstdint>

#include "Eigen/Core"
#include "absl/types/span.h"
#include "core/regression_data.h"

namespace gradoracle {

// The sum of clipped per-example gradients over `rows` (repeats count again; none: zero):
//   sum_i g_i min(1, c / ||g_i||_2),  g_i = x_i (x_i'w - y_i).
// Adding or leaving out one row moves it by at most c (theory 6b). weights: (d). clip_norm: c > 0. out: (d).
void ClippedGradientSum(const RegressionData& data, const Eigen::Ref<const Eigen::VectorXd>& weights,
                        absl::Span<const uint32_t> rows, double clip_norm, Eigen::Ref<Eigen::RowVectorXd> out);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DEFENCE_CLIPPED_GRADIENT_H_
