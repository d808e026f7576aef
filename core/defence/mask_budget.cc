#include "core/defence/mask_budget.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "core/errors.h"

namespace gradoracle {

absl::StatusOr<double> MaskVarianceForBudget(int64_t count, double relative_error, double max_weights_norm,
                                             double hessian_norm, int64_t dimension) {
  const double ratio = max_weights_norm * relative_error * hessian_norm / static_cast<double>(dimension);
  const double variance = static_cast<double>(count) / 2 * ratio * ratio;
  if (count >= 1 && dimension >= 1 && relative_error > 0 && max_weights_norm > 0 && hessian_norm > 0 &&
      std::isnormal(variance)) {
    return variance;
  }
  return InvalidField("MASK_BUDGET_INVALID", "mask_budget",
                      absl::StrFormat("--mask-budget %d with --mask-error %.15g gives no mask; the budget must be at "
                                      "least 1, the error finite and > 0",
                                      count, relative_error));
}

}  // namespace gradoracle
