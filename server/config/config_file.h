#ifndef GRADORACLE_SERVER_CONFIG_CONFIG_FILE_H_
#define GRADORACLE_SERVER_CONFIG_CONFIG_FILE_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/settings.h"

namespace gradoracle {

// A value of a configuration file, with the line it stands on.
struct FileValue {
  SettingValue value;
  int64_t line = 0;
};

// Reads a TOML file whose keys are KeyName of Settings(), all at the top level; returns them by the setting's name
// (with dashes). Types are TOML's own: nothing is guessed from texts.
// Errors, each starting "FILE:LINE: ": kInvalidArgument CONFIG_SYNTAX, CONFIG_UNKNOWN_KEY (with the nearest known key),
// CONFIG_VALUE (a table, a date, a mixed list); kNotFound FILE_UNREADABLE.
absl::StatusOr<std::map<std::string, FileValue>> ReadConfigFile(const std::string& path);

// The same from text; `path` is only for messages.
absl::StatusOr<std::map<std::string, FileValue>> ParseConfigFile(const std::string& text, const std::string& path);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_CONFIG_FILE_H_
