#include "server/config/check_config.h"

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/config/settings.h"

namespace gradoracle {
namespace {

std::string Origin(const ResolvedConfig& resolved, const Setting& setting) {
  const auto origin = resolved.origins.find(std::string(setting.name));
  return origin == resolved.origins.end() ? "default" : origin->second;
}

}  // namespace

absl::Status CheckConfig(const ServerConfig& config) {
  GRADORACLE_RETURN_IF_ERROR(CheckExposure(config));
  return CheckFiles(config);
}

std::string FormatConfig(const ResolvedConfig& resolved) {
  std::string text;
  for (const Setting& setting : Settings()) {
    const std::optional<std::string> value = FormatSetting(setting, resolved.config);
    if (value.has_value()) {
      absl::StrAppend(&text, KeyName(setting), " = ", *value, "  # ", Origin(resolved, setting), "\n");
    } else {
      absl::StrAppend(&text, "# ", KeyName(setting), " is not set\n");
    }
  }
  return text;
}

std::string FormatConfigJson(const ResolvedConfig& resolved) {
  nlohmann::ordered_json settings;
  for (const Setting& setting : Settings()) {
    // The syntax of single values is JSON's too.
    const std::optional<std::string> value = FormatSetting(setting, resolved.config);
    settings[KeyName(setting)] = {{"value", value.has_value() ? nlohmann::ordered_json::parse(*value) : nullptr},
                                  {"origin", Origin(resolved, setting)}};
  }
  return nlohmann::ordered_json({{"settings", settings}}).dump();
}

}  // namespace gradoracle
