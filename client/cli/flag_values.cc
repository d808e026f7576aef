#include "client/cli/flag_values.h"

#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {

absl::Status RequireValue(const std::string& value, absl::string_view field, absl::string_view flag) {
  if (!value.empty()) return absl::OkStatus();
  return InvalidField("MISSING", field, absl::StrCat(field, " is missing: give ", flag));
}

absl::Status ParseInteger(const std::string& text, absl::string_view field, int64_t& value) {
  if (absl::SimpleAtoi(text, &value)) return absl::OkStatus();
  return InvalidField("NOT_AN_INTEGER", field,
                      absl::StrCat(field, " is '", text, "', but must be a whole number no larger than ",
                                   std::numeric_limits<int64_t>::max()));
}

absl::Status ParseNumber(const std::string& text, absl::string_view field, double& value) {
  if (absl::SimpleAtod(text, &value) && std::isfinite(value)) return absl::OkStatus();
  return InvalidField("NOT_A_NUMBER", field, absl::StrCat(field, " is '", text, "', but must be a finite number"));
}

absl::Status ParsePositive(const std::string& text, absl::string_view field, double& value) {
  if (text.empty()) return absl::OkStatus();
  GRADORACLE_RETURN_IF_ERROR(ParseNumber(text, field, value));
  if (value > 0) return absl::OkStatus();
  return InvalidField(absl::StrCat(absl::AsciiStrToUpper(field), "_NOT_POSITIVE"), field,
                      absl::StrCat(field, " is ", value, ", but must be positive"));
}

absl::Status ParseLevel(const std::string& text, double& level) {
  if (!text.empty()) GRADORACLE_RETURN_IF_ERROR(ParseNumber(text, "level", level));
  if (level > 0.5 && level < 1) return absl::OkStatus();
  return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                      absl::StrCat("level is ", level, ", but must be above 0.5 and below 1"));
}

absl::Status ParseTargetError(const std::string& text, double& value) {
  GRADORACLE_RETURN_IF_ERROR(ParseNumber(text, "target_error", value));
  if (value > 0 && value <= 1) return absl::OkStatus();
  return InvalidField("TARGET_ERROR_OUT_OF_RANGE", "target_error",
                      absl::StrCat("target_error is ", value, ", but must be above 0 and at most 1"));
}

}  // namespace gradoracle
