#ifndef GRADORACLE_TESTS_SERVER_EVENTUALLY_H_
#define GRADORACLE_TESTS_SERVER_EVENTUALLY_H_

#include <chrono>
#include <functional>
#include <thread>

namespace gradoracle {

// Whether the condition comes true within half a minute: long enough for any machine, so that only a fault makes it
// fail.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_EVENTUALLY_H_
