#ifndef GRADORACLE_SERVER_SERVICE_CALL_RECORD_H_
#define GRADORACLE_SERVER_SERVICE_CALL_RECORD_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/server_callback.h"
#include "server/operations/metrics.h"

namespace gradoracle {

// What an RPC is called in metrics and logs.
struct MethodName {
  absl::string_view service;  // "gradoracle.v1.OracleService"
  absl::string_view method;   // "GetGradient"
  absl::string_view type;     // "unary", "server_stream"
};

// One call from its begin to its status: counted in the metrics, and one line in the log with who, what, how long and
// how it ended. Never holds weights, gradients or anything else of the data. Names handed in are of fixed strings.
class CallRecord {
 public:
  CallRecord(const MethodName& name, const grpc::CallbackServerContext& context, Metrics* metrics);
  // A call that never told its end was cut: CANCELLED.
  ~CallRecord();
  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  void set_principal(absl::string_view principal) { principal_ = std::string(principal); }
  // Of a request whose id has been checked.
  void set_request_id(absl::string_view request_id) { request_id_ = std::string(request_id); }
  // Gradients that were handed to gRPC, and their bytes.
  void AddSent(int64_t gradients, int64_t bytes);

  // Once; what is sent of the call afterwards is not counted.
  void Finish(const absl::Status& status);

 private:
  const MethodName name_;
  Metrics* const metrics_;
  const std::chrono::steady_clock::time_point begin_;  // durations are of a clock that nobody sets
  const std::string peer_;
  const std::string trace_id_;
  std::string principal_;
  std::string request_id_;
  std::atomic<int64_t> gradients_{0};
  std::atomic<int64_t> bytes_{0};
  bool finished_ = false;
};

// The trace id of a W3C `traceparent` header, 32 lower-case hexadecimal digits; empty when it has none that is valid.
std::string TraceIdOf(absl::string_view traceparent);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVICE_CALL_RECORD_H_
