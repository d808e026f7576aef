#include "server/config/config_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <optional>
#include <sstream>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "toml++/toml.h"

namespace gradoracle {
namespace {

std::optional<SettingValue> FromArray(const toml::array& array) {
  std::vector<double> numbers;
  for (const toml::node& item : array) {
    if (!item.is_number()) return std::nullopt;
    numbers.push_back(*item.value<double>());
  }
  return numbers;
}

std::optional<SettingValue> FromNode(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* on = node.as_boolean()) return on->get();
  if (const auto* integer = node.as_integer()) return integer->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* array = node.as_array()) return FromArray(*array);
  return std::nullopt;  // a table, a date, a time
}

// Edits (insert, delete, replace) between two words, to guess what a mistyped key was meant to be.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

std::string NearestKey(absl::string_view key) {
  const auto nearest = std::min_element(Settings().begin(), Settings().end(), [&](const Setting& a, const Setting& b) {
    return EditDistance(key, KeyName(a)) < EditDistance(key, KeyName(b));
  });
  return KeyName(*nearest);
}

absl::Status ErrorAt(const std::string& path, int64_t line, absl::string_view reason, absl::string_view field,
                     absl::string_view message) {
  return InvalidField(reason, field, absl::StrCat(path, ":", line, ": ", message));
}

absl::Status Unreadable(const std::string& path, int error) {
  return MakeError(absl::StatusCode::kNotFound, "FILE_UNREADABLE", "config",
                   absl::StrCat("--config ", path, ": cannot be read: ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::map<std::string, FileValue>> ParseConfigFile(const std::string& text, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse(std::string_view(text), std::string_view(path));
  } catch (const toml::parse_error& error) {
    return ErrorAt(path, error.source().begin.line, "CONFIG_SYNTAX", "config",
                   absl::StrCat("not valid TOML: ", std::string(error.description())));
  }
  std::map<std::string, FileValue> values;
  std::optional<absl::Status> first_error;  // of the file's order, not of the table's (sorted by key)
  int64_t first_error_line = 0;
  const auto fail = [&](int64_t line, absl::string_view reason, const std::string& key, absl::string_view message) {
    if (first_error.has_value() && first_error_line <= line) return;
    first_error = ErrorAt(path, line, reason, key, message);
    first_error_line = line;
  };
  for (const auto& [toml_key, node] : table) {
    const std::string key(toml_key.str());
    const int64_t line = toml_key.source().begin.line;
    // Keys have underscores, flags dashes; a key with dashes is no key.
    const Setting* setting =
        key.find('-') == std::string::npos ? FindSetting(absl::StrReplaceAll(key, {{"_", "-"}})) : nullptr;
    if (setting == nullptr) {
      fail(line, "CONFIG_UNKNOWN_KEY", key,
           absl::StrCat("unknown key '", key, "'; the nearest known one is '", NearestKey(key), "'"));
      continue;
    }
    const std::optional<SettingValue> value = FromNode(node);
    if (!value.has_value()) {
      fail(line, "CONFIG_VALUE", key,
           absl::StrCat(key, ": must be a text, a number, true, false or a list of numbers"));
      continue;
    }
    // A trial, so that a wrong type or range is reported here, where file and line are known.
    ServerConfig trial;
    if (const absl::Status status = StoreSetting(*setting, *value, trial); !status.ok()) {
      fail(line, "CONFIG_VALUE", key, absl::StrCat(key, ": ", status.message()));
      continue;
    }
    values.emplace(std::string(setting->name), FileValue{*value, line});
  }
  if (first_error.has_value()) return *first_error;
  return values;
}

absl::StatusOr<std::map<std::string, FileValue>> ReadConfigFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return Unreadable(path, EISDIR);
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return Unreadable(path, errno);
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return Unreadable(path, errno);
  return ParseConfigFile(text.str(), path);
}

}  // namespace gradoracle
