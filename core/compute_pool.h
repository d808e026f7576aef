#ifndef GRADORACLE_CORE_COMPUTE_POOL_H_
#define GRADORACLE_CORE_COMPUTE_POOL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace gradoracle {

// A fixed set of threads for arithmetic, apart from gRPC's callback threads. Each runs with subnormals flushed (FTZ and
// DAZ), so that no input can slow it down; that is why this is not a general pool. First in, first out.
// (std::mutex, not absl::Mutex: the installed Abseil is not instrumented, so TSan cannot see its locks.)
class ComputePool {
 public:
  explicit ComputePool(int thread_count);  // >= 1
  ~ComputePool();                          // finishes what was scheduled, then joins
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  void Schedule(std::function<void()> task);
  int thread_count() const { return static_cast<int>(threads_.size()); }

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_COMPUTE_POOL_H_
