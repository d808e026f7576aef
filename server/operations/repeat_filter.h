#ifndef GRADORACLE_SERVER_OPERATIONS_REPEAT_FILTER_H_
#define GRADORACLE_SERVER_OPERATIONS_REPEAT_FILTER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace gradoracle {

// Lets one message of each kind through in `interval`, so that whoever can cause messages cannot fill a log with them.
// Kinds are of a short list (places in a program). Thread-safe.
class RepeatFilter {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RepeatFilter(Clock::duration interval) : interval_(interval) {}

  // Nothing: leave this one out. Otherwise the number of messages of its kind that were left out since the last one.
  std::optional<int64_t> Pass(absl::string_view kind, Clock::time_point now);

 private:
  struct Kind {
    Clock::time_point last;
    int64_t left_out = 0;
  };

  const Clock::duration interval_;
  std::mutex mutex_;
  std::map<std::string, Kind, std::less<>> kinds_;  // guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_REPEAT_FILTER_H_
