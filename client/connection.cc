#include "client/connection.h"

#include <algorithm>
#include <limits>

namespace gradoracle {
namespace {

// gRPC stops retrying at the call's deadline. StreamGradients is left out: a stream resumes where it broke.
constexpr char kServiceConfig[] = R"({
  "methodConfig": [{
    "name": [{"service": "gradoracle.v1.OracleService", "method": "GetInfo"},
             {"service": "gradoracle.v1.OracleService", "method": "GetGradient"},
             {"service": "gradoracle.v1.OracleService", "method": "GetBudget"}],
    "waitForReady": false,
    "retryPolicy": {
      "maxAttempts": 5,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
})";

}  // namespace

grpc::ChannelArguments ConnectionArguments(int64_t max_receive_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  arguments.SetMaxReceiveMessageSize(
      static_cast<int>(std::min<int64_t>(max_receive_bytes, std::numeric_limits<int>::max())));
  // Two clients of one process are two connections: one connection is one sequence of bytes.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A dead peer is noticed within 40 s, also while it owes us a chunk. Servers permit pings 10 s apart.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  return arguments;
}

int64_t MaxReceiveBytes(int64_t dimension) {
  constexpr int64_t kChunkBytes = 256 * 1024;
  constexpr int64_t kSlack = 64 * 1024;
  return std::max<int64_t>(kChunkBytes, 8 * dimension) + kSlack;
}

}  // namespace gradoracle
