#ifndef GRADORACLE_CORE_DEFENCE_MASK_BUDGET_H_
#define GRADORACLE_CORE_DEFENCE_MASK_BUDGET_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace gradoracle {

// The mask variance at which the active attack (theory 3.2, 6c.2) still errs by `relative_error` after `count`
// gradients:
//   lambda = m R^2 e^2 ||H||^2 / (2 d^2).
// R: largest norm of the weights, which stands for ||w - w*||. It holds for that attack: the noise that is in the rows
// themselves only adds to it. lambda depends on the data through ||H||: whoever is told it learns that.
// Errors: kInvalidArgument MASK_BUDGET_INVALID unless m >= 1, d >= 1 and the rest finite and > 0, lambda included.
absl::StatusOr<double> MaskVarianceForBudget(int64_t count, double relative_error, double max_weights_norm,
                                             double hessian_norm, int64_t dimension);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DEFENCE_MASK_BUDGET_H_
