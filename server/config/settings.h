#ifndef GRADORACLE_SERVER_CONFIG_SETTINGS_H_
#define GRADORACLE_SERVER_CONFIG_SETTINGS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/config/config.h"

// The one table of the server's settings. A flag, an environment variable and a key of the configuration file are three
// spellings of one row: --max-count, GRADORACLE_MAX_COUNT, max_count.
namespace gradoracle {

// Where a row's value lives; the member's type is the type of the setting.
using SettingMember = std::variant<std::string ServerConfig::*, bool ServerConfig::*, int64_t ServerConfig::*,
                                   double ServerConfig::*, std::optional<bool> ServerConfig::*,
                                   std::optional<int64_t> ServerConfig::*, std::optional<double> ServerConfig::*,
                                   std::vector<double> ServerConfig::*, absl::Duration ServerConfig::*>;

// A value as read, before it is checked against its row. A configuration file gives all types; flags and environment
// give text, which ParseSettingText turns into the row's type.
using SettingValue = std::variant<std::string, bool, int64_t, double, std::vector<double>>;

struct Setting {
  absl::string_view name;  // of the flag, without dashes in front: "max-count"
  SettingMember member;
  absl::string_view group;  // heading in --help
  absl::string_view value;  // placeholder in --help; empty for switches
  absl::string_view help;   // what it does; the default and the choices are added from here and from ServerConfig
  std::vector<absl::string_view> choices = {};  // of a text; empty: any
  double at_least = 0;                          // of a number or duration
  double at_most = 9007199254740992;            // 2^53: every such integer is exact in JSON
  bool positive = false;                        // of a number: more than 0, not just at least
};

const std::vector<Setting>& Settings();
const Setting* FindSetting(absl::string_view name);  // nullptr when there is none

std::string FlagName(const Setting& setting);         // "--max-count"
std::string EnvironmentName(const Setting& setting);  // "GRADORACLE_MAX_COUNT"
std::string KeyName(const Setting& setting);          // "max_count"
bool IsReloadable(const Setting& setting);            // can change while serving (SIGHUP)
bool IsSwitch(const Setting& setting);                // true for booleans: --x and --no-x

// Text of a flag or variable as a value of the setting's type. Integers and numbers are whole-string decimal; booleans
// true/false/1/0/yes/no/on/off; lists are separated by commas.
// Errors: kInvalidArgument CONFIG_VALUE; the message says what is allowed and the text found, not where it came from.
absl::StatusOr<SettingValue> ParseSettingText(const Setting& setting, const std::string& text);

// Checks type, range and choices, and stores. Integers are accepted where numbers are wanted; durations are numbers of
// seconds or texts ("250ms", "5s", "1m30s"). Errors: as ParseSettingText.
absl::Status StoreSetting(const Setting& setting, const SettingValue& value, ServerConfig& config);

// The value in the syntax of the configuration file (TOML): "\"iid\"", "32", "true", "[1.0, 2.0]". nullopt when unset.
std::optional<std::string> FormatSetting(const Setting& setting, const ServerConfig& config);

// Flags of the settings in which the two differ.
std::vector<std::string> ChangedFlags(const ServerConfig& a, const ServerConfig& b,
                                      absl::FunctionRef<bool(const Setting&)> of_interest);

// Copies the values of those settings.
void CopySettings(const ServerConfig& from, ServerConfig& to, absl::FunctionRef<bool(const Setting&)> of_interest);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_SETTINGS_H_
