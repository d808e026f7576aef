#include "server/operations/repeat_filter.h"

#include <utility>

namespace gradoracle {

std::optional<int64_t> RepeatFilter::Pass(absl::string_view kind, Clock::time_point now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [found, is_new] = kinds_.try_emplace(std::string(kind), Kind{now});
  if (is_new) return 0;
  if (now - found->second.last < interval_) {
    ++found->second.left_out;
    return std::nullopt;
  }
  found->second.last = now;
  return std::exchange(found->second.left_out, 0);
}

}  // namespace gradoracle
