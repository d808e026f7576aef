#include "core/own_threads.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using std::chrono::milliseconds;

// Catches: a wait that looks at joined threads only, and one that does not wait at all.
TEST(OwnThreadsTest, WaitsForDetachedThreads) {
  const int before = CountThreads();
  EXPECT_TRUE(AwaitThreads(before, milliseconds(0)));
  std::atomic<bool> may_end{false};
  std::thread([&] {
    while (!may_end) std::this_thread::sleep_for(milliseconds(1));
  }).detach();
  EXPECT_EQ(CountThreads(), before + 1);
  EXPECT_FALSE(AwaitThreads(before, milliseconds(20)));
  may_end = true;
  EXPECT_TRUE(AwaitThreads(before, std::chrono::minutes(1)));
}

}  // namespace
}  // namespace gradoracle
