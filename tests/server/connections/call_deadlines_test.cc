#include "server/connections/call_deadlines.h"

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/eventually.h"

namespace gradoracle {
namespace {

// Would catch calls cancelled that write nothing, or whose writes end, and a call cancelled over and over.
TEST(CallDeadlines, CancelsOnceWhatIsNotTaken) {
  CallDeadlines deadlines(absl::Milliseconds(20));
  std::atomic<int> stalled = 0;
  std::atomic<int> others = 0;
  const uint64_t silent = deadlines.Add([&] { ++others; });
  const uint64_t done = deadlines.Add([&] { ++others; });
  const uint64_t gone = deadlines.Add([&] { ++others; });
  const uint64_t stalling = deadlines.Add([&] { ++stalled; });
  deadlines.Start(done);
  deadlines.Stop(done);
  deadlines.Start(gone);
  deadlines.Remove(gone);
  deadlines.Start(stalling);
  EXPECT_TRUE(Eventually([&] { return stalled == 1; }));
  deadlines.Start(stalling);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_EQ(stalled, 1);
  EXPECT_EQ(others, 0);
  deadlines.Remove(silent);
  deadlines.Remove(stalling);
}

// gRPC may tell of a call's end from within its cancellation. Would catch a thread that waits for itself.
TEST(CallDeadlines, CancellingMayEndTheCall) {
  CallDeadlines deadlines(absl::Milliseconds(5));
  std::atomic<bool> cancelled = false;
  uint64_t call = 0;
  call = deadlines.Add([&] {
    deadlines.Remove(call);
    cancelled = true;
  });
  deadlines.Start(call);
  EXPECT_TRUE(Eventually([&] { return cancelled.load(); }));
}

// Would catch a context that is cancelled after it was destroyed.
TEST(CallDeadlines, RemoveWaitsForACancellationThatHasBegun) {
  CallDeadlines deadlines(absl::Milliseconds(5));
  std::atomic<bool> begun = false;
  std::atomic<bool> ended = false;
  const uint64_t call = deadlines.Add([&] {
    begun = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ended = true;
  });
  deadlines.Start(call);
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  deadlines.Remove(call);
  EXPECT_TRUE(ended);
}

TEST(CallDeadlines, ManyCallsFromManyThreads) {
  CallDeadlines deadlines(absl::Milliseconds(1));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&deadlines] {
      for (int i = 0; i < 2'000; ++i) {
        std::atomic<bool> alive = true;
        const uint64_t call = deadlines.Add([&alive] { EXPECT_TRUE(alive); });
        deadlines.Start(call);
        if (i % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        deadlines.Remove(call);
        alive = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gradoracle
