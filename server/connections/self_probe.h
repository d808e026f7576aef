#ifndef GRADORACLE_SERVER_CONNECTIONS_SELF_PROBE_H_
#define GRADORACLE_SERVER_CONNECTIONS_SELF_PROBE_H_

#include <sys/socket.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/connections/connection_table.h"

namespace gradoracle {

// Connects to a listening address of this very process, as a caller would, and sees whether somebody answers: in
// plaintext the server's HTTP/2 settings and its acknowledgement of ours, so both directions work; with TLS anything
// at all (without a certificate a caller gets no further on some servers). `address`: as bound; a wildcard is reached
// on 127.0.0.1. The connection counts for no limit of `table`, which may be null.
// Errors: kUnavailable, with what went wrong, when there is no answer within `timeout`.
absl::Status ProbeOnce(const sockaddr_storage& address, bool tls, ConnectionTable* table, absl::Duration timeout);

// Probes again and again, from a thread of its own; after some failures in a row it says so and calls `give_up`, once.
// A process that lives but hears nobody is worse than a dead one: whatever starts it again looks at its end only.
// Failures before the first answer do not count: this machine may not be able to reach that address at all.
class SelfProbe {
 public:
  struct Options {
    absl::Duration interval = absl::Seconds(10);  // from the end of a probe to the next one
    absl::Duration timeout = absl::Seconds(10);
    int failures = 3;
  };
  SelfProbe(const Options& options, std::function<absl::Status(absl::Duration timeout)> probe,
            std::function<void()> give_up);
  ~SelfProbe();  // after it `give_up` is not called any more
  SelfProbe(const SelfProbe&) = delete;
  SelfProbe& operator=(const SelfProbe&) = delete;

 private:
  void Run();

  const Options options_;
  const std::function<absl::Status(absl::Duration)> probe_;
  const std::function<void()> give_up_;
  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_SELF_PROBE_H_
