#include "server/connections/token_bucket.h"

#include <algorithm>

namespace gradoracle {

TokenBucket::TokenBucket(double burst, double per_second, Time now)
    : burst_(burst), per_second_(per_second), tokens_(burst), last_(now) {}

bool TokenBucket::Take(Time now) {
  const double seconds = std::max(0.0, std::chrono::duration<double>(now - last_).count());
  last_ = std::max(last_, now);
  tokens_ = std::min(burst_, tokens_ + seconds * per_second_);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace gradoracle
