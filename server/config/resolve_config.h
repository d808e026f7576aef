#ifndef GRADORACLE_SERVER_CONFIG_RESOLVE_CONFIG_H_
#define GRADORACLE_SERVER_CONFIG_RESOLVE_CONFIG_H_

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/config.h"

namespace gradoracle {

// Settings given as flags, by name without dashes in front ("max-count"), as text. "config" names the file.
using FlagValues = std::map<std::string, std::string>;

// Value of an environment variable; nullopt when unset.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment ProcessEnvironment();

struct ResolvedConfig {
  ServerConfig config;
  // Where each setting that is not at its default came from, by name: "flag --max-count", "environment
  // GRADORACLE_MAX_COUNT", "file server.toml:3".
  std::map<std::string, std::string> origins;
};

// Flag > environment > file > default, setting by setting. A variable set to the empty string counts as unset (so that
// `GRADORACLE_TARGET=${TARGET:-}` works in compose files). Every source is checked, also where a stronger one wins.
// A source that changes a rule also sets aside what weaker sources said for the old rule alone (noise_scale under
// another noise_rule, noise_variance likewise, scaling under --no-standardise). The result has passed ValidateConfig.
// Errors: kInvalidArgument, kNotFound, the message starting with the flag, the variable, or FILE:LINE.
absl::StatusOr<ResolvedConfig> ResolveConfig(const FlagValues& flags, const Environment& environment);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_RESOLVE_CONFIG_H_
