#include "core/own_threads.h"

#include <filesystem>
#include <system_error>
#include <thread>

namespace gradoracle {

int CountThreads() {
  std::error_code error;
  int count = 0;
  for (std::filesystem::directory_iterator thread("/proc/self/task", error), end; !error && thread != end;
       thread.increment(error)) {
    ++count;
  }
  return error ? 1 : count;
}

bool AwaitThreads(int count, std::chrono::milliseconds longest) {
  const auto deadline = std::chrono::steady_clock::now() + longest;
  while (CountThreads() > count) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace gradoracle
