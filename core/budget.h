#ifndef GRADORACLE_CORE_BUDGET_H_
#define GRADORACLE_CORE_BUDGET_H_

#include <algorithm>
#include <cstdint>
#include <optional>

namespace gradoracle {

// What a caller may spend at an oracle over all time and has spent, in gradients.
struct Budget {
  static constexpr char kUnit[] = "gradients";

  std::optional<int64_t> limit;  // >= 0; nullopt: unlimited
  int64_t spent = 0;             // >= 0; above the limit only where that was lowered later

  // max(0, limit - spent); nullopt: unlimited.
  std::optional<int64_t> remaining() const {
    if (!limit.has_value()) return std::nullopt;
    return std::max<int64_t>(0, *limit - spent);
  }
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_BUDGET_H_
