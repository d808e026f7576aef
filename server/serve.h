#ifndef GRADORACLE_SERVER_SERVE_H_
#define GRADORACLE_SERVER_SERVE_H_

#include "absl/status/status.h"
#include "server/config.h"

namespace gradoracle {

// Loads the data, serves until SIGTERM or SIGINT, drains: health NOT_SERVING, full service for shutdown_delay, then no
// new calls and at most shutdown_timeout for those in flight. Returns OK when drained, also when calls were cut short.
// Requires BlockShutdownSignals and StartLog to have been called, and `config` to have passed ValidateConfig.
// Errors: those of CheckExposure, CheckFiles and LocalOracle::Create (configuration); kUnavailable when the address
// cannot be listened on or the port file cannot be written; kInternal when the system has no randomness.
absl::Status Serve(const ServerConfig& config);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVE_H_
