#include "core/compute_pool.h"

#include <pmmintrin.h>

#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

// The products are taken at run time, by the processor that runs the thread.
double Multiply(double a, double b) {
  volatile double x = a, y = b;
  return x * y;
}

constexpr double kSmallestNormal = std::numeric_limits<double>::min();
constexpr double kSubnormal = std::numeric_limits<double>::denorm_min() * 12345;

// Catches a pool whose threads meet subnormals at full cost (threats 5), in results (FTZ) and in operands (DAZ); and
// one that changes the mode of the thread that made it.
TEST(ComputePoolTest, SubnormalsAreFlushedInsideAndOnlyInside) {
  constexpr int kThreads = 3;
  std::mutex mutex;
  std::condition_variable all_there;
  std::set<std::thread::id> threads;
  std::atomic<int> flushed{0};
  {
    ComputePool pool(kThreads);
    EXPECT_EQ(pool.thread_count(), kThreads);
    for (int i = 0; i < kThreads; ++i) {
      pool.Schedule([&] {
        if (Multiply(kSmallestNormal, 0.5) == 0 && Multiply(kSubnormal, 0x1p60) == 0) ++flushed;
        std::unique_lock<std::mutex> lock(mutex);  // each task waits for the others, so that each has its own thread
        threads.insert(std::this_thread::get_id());
        all_there.notify_all();
        all_there.wait(lock, [&] { return threads.size() == kThreads; });
      });
    }
  }
  EXPECT_EQ(flushed, kThreads);
  EXPECT_GT(Multiply(kSmallestNormal, 0.5), 0);
  EXPECT_GT(Multiply(kSubnormal, 0x1p60), 0);
}

// Catches tasks lost at destruction, or run twice.
TEST(ComputePoolTest, FinishesEverythingScheduledBeforeItEnds) {
  std::vector<std::atomic<int>> runs(1000);
  {
    ComputePool pool(2);
    for (auto& run : runs) pool.Schedule([&run] { ++run; });
  }
  for (const auto& run : runs) EXPECT_EQ(run, 1);
}

// Catches an order other than first in, first out.
TEST(ComputePoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ComputePool pool(1);
    for (int i = 0; i < 100; ++i) pool.Schedule([&order, i] { order.push_back(i); });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

// Catches a deadlock when a task schedules another: the queue's lock must not be held while a task runs.
TEST(ComputePoolTest, TasksMaySchedule) {
  std::atomic<int> runs{0};
  ComputePool pool(1);
  std::mutex mutex;
  std::condition_variable done;
  pool.Schedule([&] {
    pool.Schedule([&] {
      const std::lock_guard<std::mutex> lock(mutex);
      ++runs;
      done.notify_all();
    });
  });
  std::unique_lock<std::mutex> lock(mutex);
  done.wait(lock, [&] { return runs == 1; });
}

// Catches a race between schedulers; meant for ThreadSanitizer.
TEST(ComputePoolTest, ManyThreadsMaySchedule) {
  std::atomic<int> runs{0};
  {
    ComputePool pool(2);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 250; ++i) pool.Schedule([&] { ++runs; });
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(runs, 1000);
}

}  // namespace
}  // namespace gradoracle
