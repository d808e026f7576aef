#ifndef GRADORACLE_SERVER_CONNECTIONS_CALL_DEADLINES_H_
#define GRADORACLE_SERVER_CONNECTIONS_CALL_DEADLINES_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/time/time.h"

namespace gradoracle {

// Cancels calls in which something takes longer than `limit`: one for messages that their caller does not take (without
// it a caller that stops reading holds two chunks, its place among the queries and its stream for as long as its
// machine answers pings), another for unary calls as a whole. Thread-safe.
class CallDeadlines {
 public:
  // Looks every eighth of `limit`, which must be positive.
  explicit CallDeadlines(absl::Duration limit);
  ~CallDeadlines();
  CallDeadlines(const CallDeadlines&) = delete;
  CallDeadlines& operator=(const CallDeadlines&) = delete;

  // A call to be watched; `cancel` may be called once, from a thread of this, until Remove returns. It may itself lead
  // to Remove.
  uint64_t Add(std::function<void()> cancel);
  // From now on, anew, the time runs; until Stop.
  void Start(uint64_t call);
  void Stop(uint64_t call);
  void Remove(uint64_t call);

 private:
  using Clock = std::chrono::steady_clock;
  struct Call {
    std::function<void()> cancel;
    std::optional<Clock::time_point> since;
    bool cancelling = false;
  };

  void Run();

  const Clock::duration limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;               // guarded by mutex_
  uint64_t next_ = 1;               // guarded by mutex_
  std::map<uint64_t, Call> calls_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_CALL_DEADLINES_H_
