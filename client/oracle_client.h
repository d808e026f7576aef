#ifndef GRADORACLE_CLIENT_ORACLE_CLIENT_H_
#define GRADORACLE_CLIENT_ORACLE_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/budget.h"
#include "core/gradient_source.h"

namespace gradoracle {

struct OracleClientOptions {
  // Deadline of a unary call, its retries included.
  absl::Duration deadline = absl::Seconds(30);
  // A stream that delivers nothing for this long is taken as broken (and resumed, as often as max_resumptions says).
  absl::Duration stall_timeout = absl::Seconds(60);
  // In a row, without a gradient in between.
  int max_resumptions = 5;
  // Elements travel as float32: half the bytes, relative rounding error 6e-8.
  bool float32 = false;
  // A file that holds the bearer token and nothing else; empty: no token. Read once, when the client is made; the token
  // goes into no message.
  std::string token_file = {};
  // TLS: a PEM file of whoever vouches for the oracle, or "system" for the authorities this machine trusts. Without it
  // and without tls_cert the connection is plaintext.
  std::string tls_ca = {};
  // A client certificate with its chain, and its private key, PEM; both or neither.
  std::string tls_cert = {};
  std::string tls_key = {};
  // Let the token travel in plaintext to another machine.
  bool insecure = false;
  // Set to true from anywhere, also a signal handler, to stop: calls then return kCancelled within about 100 ms.
  const std::atomic<bool>* cancelled = nullptr;
};

// A remote oracle as a GradientSource: deadlines, retries of UNAVAILABLE by service config, streams resumed by request
// id after a broken connection, chunks decoded straight into the sink's block. Thread-safe.
class OracleClient : public GradientSource {
 public:
  // `target` is HOST:PORT (or any gRPC target). Does not connect yet. Errors: kInvalidArgument (empty target;
  // TLS_OPTIONS, TOKEN_FILE_INVALID, TOKEN_IN_PLAINTEXT), kNotFound FILE_UNREADABLE.
  static absl::StatusOr<std::unique_ptr<OracleClient>> Create(const std::string& target,
                                                              const OracleClientOptions& options);

  // The answer is cached after the first success.
  absl::StatusOr<OracleInfo> Info() override = 0;

  // One gradient (d), by the unary call. query.count must be 1.
  virtual absl::StatusOr<Eigen::VectorXd> Gradient(const GradientQuery& query) = 0;

  // What this caller may spend at the oracle, and has spent. Never cached.
  virtual absl::StatusOr<gradoracle::Budget> Budget() = 0;

  // A query without a request id is given a random one, so that it can resume. One of several chunks that the budget
  // does not pay for is refused before anything is asked for: kResourceExhausted BUDGET_EXHAUSTED.
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override = 0;

 protected:
  OracleClient() = default;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ORACLE_CLIENT_H_
