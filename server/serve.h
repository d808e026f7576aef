#ifndef GRADORACLE_SERVER_SERVE_H_
#define GRADORACLE_SERVER_SERVE_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config/config.h"

namespace gradoracle {

// Reads the configuration again, as at the start: the same flags and variables, the file as it is now.
using ConfigReader = std::function<absl::StatusOr<ServerConfig>()>;

// Loads the data, serves until SIGTERM or SIGINT, drains: health NOT_SERVING, full service for shutdown_delay, then no
// new calls and at most shutdown_timeout for those in flight. Returns OK when drained, also when calls were cut short.
// SIGHUP applies what can change while serving of the configuration read again; one with an error changes nothing.
// Requires BlockSignals and StartLog to have been called, and `config` to have passed ValidateConfig.
// Errors: those of CheckExposure, CheckFiles and LocalOracle::Create (configuration); kUnavailable when the address
// cannot be listened on or the port file cannot be written; kInternal when the system has no randomness.
absl::Status Serve(const ServerConfig& config, const ConfigReader& read_config);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVE_H_
