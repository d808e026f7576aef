#ifndef GRADORACLE_SERVER_CONNECTIONS_CONNECTION_H_
#define GRADORACLE_SERVER_CONNECTIONS_CONNECTION_H_

#include <cstdint>
#include <mutex>

#include "server/connections/file_descriptor.h"
#include "server/connections/peer_address.h"
#include "server/connections/token_bucket.h"

namespace gradoracle {

// What one connection may do with its calls.
struct CallLimits {
  // Calls whose handlers have not ended. gRPC's limit of streams forgets a stream when its caller resets it, though its
  // handler may only just have begun (CVE-2023-44487); this one does not.
  int calls_in_flight = 200;
  // So many can only be had by resetting streams faster than their handlers end: the connection is aborted. In a flood
  // handlers begin in order, and the first one's end comes after the last one's begin, so this is what stops it soon.
  int calls_in_flight_of_a_flood = 500;
  // Calls that end because their caller cancelled or reset them. A caller that gives up now and then, or ends a hundred
  // streams at once, is far below; a flood of resets is over the first second.
  double cancelled_burst = 1'000;
  double cancelled_per_second = 100;
};

// One accepted connection, from the accept until its socket is shut down. gRPC owns the socket's descriptor; this holds
// a second one of the same socket, by which the end is seen and can be brought about. Thread-safe.
class Connection {
 public:
  using Time = TokenBucket::Time;

  // `counted`: false for the server's own probe, which no limit of the table counts.
  Connection(const PeerAddress& peer, bool counted, const CallLimits& limits, Time now);

  const PeerAddress& peer() const { return peer_; }
  bool counted() const { return counted_; }

  // Takes the second descriptor; -1 when there is none yet or no longer.
  void Attach(FileDescriptor descriptor);
  int descriptor() const;
  // Closes the second descriptor. To be called when the socket has ended.
  void Detach();

  // Each call: once before its handler runs, once when everything of it is gone. `cancelled`: by the caller, or because
  // its connection broke. Both return true when that was one too many and the connection was aborted just now.
  bool CallStarted();
  bool CallEnded(bool cancelled, Time now);
  // Whether a call that has started may do any work: neither aborted nor more calls in flight than allowed.
  bool MayWork() const;

  // Ends the connection for both sides at once; what has been received and not yet read is thrown away.
  void Abort();

 private:
  void AbortLocked();

  const PeerAddress peer_;
  const bool counted_;
  const CallLimits limits_;

  mutable std::mutex mutex_;
  FileDescriptor descriptor_;     // guarded by mutex_
  TokenBucket cancelled_tokens_;  // guarded by mutex_
  int calls_in_flight_ = 0;       // guarded by mutex_
  bool aborted_ = false;          // guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_CONNECTION_H_
