#include "server/connections/connection.h"

#include <sys/socket.h>

#include <utility>

namespace gradoracle {

Connection::Connection(const PeerAddress& peer, bool counted, const CallLimits& limits, Time now)
    : peer_(peer),
      counted_(counted),
      limits_(limits),
      cancelled_tokens_(limits.cancelled_burst, limits.cancelled_per_second, now) {}

void Connection::Attach(FileDescriptor descriptor) {
  const std::lock_guard<std::mutex> lock(mutex_);
  descriptor_ = std::move(descriptor);
}

int Connection::descriptor() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return descriptor_.get();
}

void Connection::Detach() {
  const std::lock_guard<std::mutex> lock(mutex_);
  descriptor_.Close();
}

bool Connection::CallStarted() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++calls_in_flight_;
  if (calls_in_flight_ <= limits_.calls_in_flight_of_a_flood || aborted_ || !descriptor_.valid()) return false;
  AbortLocked();
  return true;
}

bool Connection::CallEnded(bool cancelled, Time now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  --calls_in_flight_;
  // Calls that broke with their connection are no fault of the caller's; a further abort would change nothing.
  if (!cancelled || aborted_ || !descriptor_.valid() || cancelled_tokens_.Take(now)) return false;
  AbortLocked();
  return true;
}

bool Connection::MayWork() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !aborted_ && calls_in_flight_ <= limits_.calls_in_flight;
}

void Connection::Abort() {
  const std::lock_guard<std::mutex> lock(mutex_);
  AbortLocked();
}

void Connection::AbortLocked() {
  aborted_ = true;
  if (!descriptor_.valid()) return;
  // Linux: connecting a TCP socket to AF_UNSPEC resets it and empties its queues. shutdown(2) alone would let gRPC go
  // on with megabytes of frames that have been received already; it is for a kernel that refuses the first.
  const sockaddr nowhere = {.sa_family = AF_UNSPEC, .sa_data = {}};
  connect(descriptor_.get(), &nowhere, sizeof(nowhere));
  shutdown(descriptor_.get(), SHUT_RDWR);
}

}  // namespace gradoracle
