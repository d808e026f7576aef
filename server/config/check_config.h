#ifndef GRADORACLE_SERVER_CONFIG_CHECK_CONFIG_H_
#define GRADORACLE_SERVER_CONFIG_CHECK_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "server/config/resolve_config.h"

namespace gradoracle {

// Whether `serve` would accept the configuration, as far as that can be told without reading the data: exposure, and
// that the files can be read. Errors: those of CheckExposure and CheckFiles.
absl::Status CheckConfig(const ServerConfig& config);

// The effective settings as a configuration file: `key = value`, each line with a comment that says where the value
// came from; settings that are unset are comments as a whole. Reading it back gives the same configuration.
std::string FormatConfig(const ResolvedConfig& resolved);

// {"settings": {key: {"value": ..., "origin": ...}}}, in one line.
std::string FormatConfigJson(const ResolvedConfig& resolved);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_CHECK_CONFIG_H_
