#ifndef GRADORACLE_SERVER_HEALTHCHECK_H_
#define GRADORACLE_SERVER_HEALTHCHECK_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/config/config.h"

namespace gradoracle {

// Asks grpc.health.v1 for gradoracle.v1.OracleService at the address `serve` would listen on with the same
// configuration: loopback for a wildcard host, the port file's address for port 0. OK when SERVING.
// Errors: kUnavailable when nothing answers within `timeout` or the answer is another; kInvalidArgument for port 0
// without a port file.
absl::Status Healthcheck(const ServerConfig& config, absl::Duration timeout);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_HEALTHCHECK_H_
