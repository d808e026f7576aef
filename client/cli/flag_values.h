#ifndef GRADORACLE_CLIENT_CLI_FLAG_VALUES_H_
#define GRADORACLE_CLIENT_CLI_FLAG_VALUES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/different_files.h"

// What was typed, into values. Every error is kInvalidArgument and names the flag as its field.
namespace gradoracle {

// MISSING when `value` is empty; `flag` says how to give it, e.g. "--out FILE.npy".
absl::Status RequireValue(const std::string& value, absl::string_view field, absl::string_view flag);
// NOT_AN_INTEGER: anything but a whole number that fits 64 bits.
absl::Status ParseInteger(const std::string& text, absl::string_view field, int64_t& value);
// NOT_A_NUMBER: anything but a finite number.
absl::Status ParseNumber(const std::string& text, absl::string_view field, double& value);
// The same for numbers above zero: `<FIELD>_NOT_POSITIVE`. Leaves `value` alone when `text` is empty.
absl::Status ParsePositive(const std::string& text, absl::string_view field, double& value);
// LEVEL_OUT_OF_RANGE: a confidence level lies strictly between 0.5 and 1. Leaves `level` alone when `text` is empty.
absl::Status ParseLevel(const std::string& text, double& level);
// TARGET_ERROR_OUT_OF_RANGE: a relative error to reach lies above 0 and is at most 1.
absl::Status ParseTargetError(const std::string& text, double& value);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_FLAG_VALUES_H_
