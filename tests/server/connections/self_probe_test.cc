#include "server/connections/self_probe.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/connections/listening_sockets.h"
#include "tests/server/eventually.h"

namespace gradoracle {
namespace {

SelfProbe::Options Fast() { return {.interval = absl::Milliseconds(1), .timeout = absl::Seconds(10), .failures = 3}; }

const absl::Status kFailed = absl::UnavailableError("nobody");

// Would catch a process ended by single failures, and one that never is.
TEST(SelfProbe, GivesUpAfterFailuresInARow) {
  std::atomic<int> probes = 0;
  std::atomic<int> given_up = 0;
  // ok, 2 failures, ok, then failures only: the third of those is the last straw.
  const SelfProbe probe(
      Fast(),
      [&](absl::Duration) {
        const int i = probes++;
        return i == 0 || i == 3 ? absl::OkStatus() : kFailed;
      },
      [&] { ++given_up; });
  EXPECT_TRUE(Eventually([&] { return given_up == 1; }));
  EXPECT_EQ(probes, 7);
}

// Would catch a server that ends itself on a machine whose own address it cannot reach.
TEST(SelfProbe, NeverGivesUpBeforeTheFirstAnswer) {
  std::atomic<int> probes = 0;
  std::atomic<int> given_up = 0;
  {
    const SelfProbe probe(
        Fast(),
        [&](absl::Duration) {
          ++probes;
          return kFailed;
        },
        [&] { ++given_up; });
    EXPECT_TRUE(Eventually([&] { return probes >= 10; }));
  }
  EXPECT_EQ(given_up, 0);
}

// Would catch a drain that the probe mistakes for deafness.
TEST(SelfProbe, IsSilentOnceStopped) {
  std::atomic<bool> asked = false;
  std::atomic<bool> failing = false;
  std::atomic<int> given_up = 0;
  auto probe = std::make_unique<SelfProbe>(
      SelfProbe::Options{.interval = absl::Milliseconds(1), .timeout = absl::Seconds(10), .failures = 1},
      [&](absl::Duration) {
        if (!asked.exchange(true)) return absl::OkStatus();
        failing = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));  // its end comes meanwhile
        return kFailed;
      },
      [&] { ++given_up; });
  ASSERT_TRUE(Eventually([&] { return failing.load(); }));
  probe.reset();
  EXPECT_EQ(given_up, 0);
}

// A listener that is never accepted from: connections come about, as with gRPC's own listener once it went deaf, and
// nobody answers.
TEST(ProbeOnce, ADeafListenerIsSeen) {
  const auto sockets = ListenOn({.host = "127.0.0.1", .port = 0});
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ConnectionTable table{ConnectionLimits()};
  for (const bool tls : {false, true}) {
    const absl::Status answer = ProbeOnce(sockets->addresses[0], tls, &table, absl::Milliseconds(50));
    EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable) << answer;
  }
}

TEST(ProbeOnce, NobodyListeningIsSeen) {
  sockaddr_storage address;
  {
    const auto sockets = ListenOn({.host = "127.0.0.1", .port = 0});
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    address = sockets->addresses[0];
  }
  EXPECT_EQ(ProbeOnce(address, false, nullptr, absl::Seconds(30)).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace gradoracle
