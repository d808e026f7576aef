#include "server/config/resolve_config.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "server/config/config_file.h"
#include "server/config/settings.h"

namespace gradoracle {
namespace {

absl::Status StoreText(const Setting& setting, const std::string& text, absl::string_view source,
                       ServerConfig& config) {
  absl::StatusOr<SettingValue> value = ParseSettingText(setting, text);
  absl::Status status = value.ok() ? StoreSetting(setting, *value, config) : value.status();
  if (status.ok()) return status;
  return InvalidField("CONFIG_VALUE", KeyName(setting), absl::StrCat(source, ": ", status.message()));
}

// Settings that mean something only under a value of another one.
struct Dependence {
  absl::string_view name;
  absl::string_view on;
  bool (*applies)(const ServerConfig& config);
};
constexpr Dependence kDependences[] = {
    {"noise-scale", "noise-rule", [](const ServerConfig& config) { return config.noise_rule == "scaled"; }},
    {"noise-variance", "noise-rule", [](const ServerConfig& config) { return config.noise_rule == "fixed"; }},
    {"scaling", "standardise", [](const ServerConfig& config) { return config.standardise; }},
};

// A stronger source that changes the rule sets aside what weaker ones said for the old rule: `--noise-rule calibrated`
// over a file with noise_rule = "scaled", noise_scale = 2. Said by the same source, the two contradict each other.
void DropOverridden(const std::map<std::string, int>& strengths, ResolvedConfig& resolved) {
  const auto strength = [&](absl::string_view name) {
    const auto found = strengths.find(std::string(name));
    return found == strengths.end() ? 0 : found->second;
  };
  for (const Dependence& dependence : kDependences) {
    if (dependence.applies(resolved.config) || strength(dependence.name) == 0) continue;
    if (strength(dependence.on) <= strength(dependence.name)) continue;
    std::visit([&](auto member) { resolved.config.*member = ServerConfig().*member; },
               FindSetting(dependence.name)->member);
    resolved.origins.erase(std::string(dependence.name));
  }
}

std::optional<std::string> NonEmpty(std::optional<std::string> text) {
  return text.has_value() && !text->empty() ? text : std::nullopt;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

absl::StatusOr<ResolvedConfig> ResolveConfig(const FlagValues& flags, const Environment& environment) {
  ResolvedConfig resolved;
  std::map<std::string, int> strengths;  // 1 file, 2 environment, 3 flag
  std::optional<std::string> path = NonEmpty(environment("GRADORACLE_CONFIG"));
  if (const auto flag = flags.find("config"); flag != flags.end()) path = flag->second;
  if (path.has_value()) {
    GRADORACLE_ASSIGN_OR_RETURN(const auto values, ReadConfigFile(*path));
    for (const auto& [name, value] : values) {
      GRADORACLE_RETURN_IF_ERROR(StoreSetting(*FindSetting(name), value.value, resolved.config));
      resolved.origins[name] = absl::StrCat("file ", *path, ":", value.line);
      strengths[name] = 1;
    }
  }
  for (const Setting& setting : Settings()) {
    const std::string name(setting.name);
    if (const auto text = NonEmpty(environment(EnvironmentName(setting)))) {
      const std::string variable = EnvironmentName(setting);
      GRADORACLE_RETURN_IF_ERROR(StoreText(setting, *text, variable, resolved.config));
      resolved.origins[name] = absl::StrCat("environment ", variable);
      strengths[name] = 2;
    }
    if (const auto flag = flags.find(name); flag != flags.end()) {
      GRADORACLE_RETURN_IF_ERROR(StoreText(setting, flag->second, FlagName(setting), resolved.config));
      resolved.origins[name] = absl::StrCat("flag ", FlagName(setting));
      strengths[name] = 3;
    }
  }
  DropOverridden(strengths, resolved);
  GRADORACLE_RETURN_IF_ERROR(ValidateConfig(resolved.config));
  return resolved;
}

}  // namespace gradoracle
