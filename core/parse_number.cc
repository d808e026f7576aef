#include "core/parse_number.h"

#include <charconv>
#include <cmath>
#include <system_error>

#include "absl/strings/charconv.h"

namespace gradoracle {
namespace {

// True for "1,5" and the like: what a spreadsheet in many a locale writes.
bool LooksLikeDecimalComma(absl::string_view text) {
  bool comma = false;
  bool digit = false;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      digit = true;
    } else if (c == ',' && !comma) {
      comma = true;
    } else if (c != '-' && c != '+') {
      return false;
    }
  }
  return comma && digit;
}

}  // namespace

NumberKind ParseNumber(absl::string_view text, double& value) {
  if (text.empty()) return NumberKind::kEmpty;
  const absl::string_view whole = text;
  // from_chars knows no plus sign.
  if (text[0] == '+' && text.size() > 1 && text[1] != '-' && text[1] != '+') text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  double parsed = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, parsed);
  if (error == std::errc::invalid_argument || stop != end) {
    return LooksLikeDecimalComma(whole) ? NumberKind::kDecimalComma : NumberKind::kNotANumber;
  }
  if (error == std::errc::result_out_of_range) {
    // Too large and too small come back alike; Abseil's twin sets its result to the largest double, or to about zero.
    absl::from_chars(text.data(), end, parsed);
    if (std::abs(parsed) > 1) return NumberKind::kOutOfRange;
    value = std::copysign(0.0, parsed);
    return NumberKind::kFinite;
  }
  if (std::isnan(parsed)) return NumberKind::kNan;
  if (std::isinf(parsed)) return NumberKind::kInfinite;
  value = parsed;
  return NumberKind::kFinite;
}

absl::string_view DescribeNumberKind(NumberKind kind) {
  switch (kind) {
    case NumberKind::kFinite:
      return "a finite number";
    case NumberKind::kEmpty:
      return "empty field";
    case NumberKind::kNotANumber:
      return "not a number";
    case NumberKind::kDecimalComma:
      return "number with a decimal comma (write a decimal point)";
    case NumberKind::kNan:
      return "NaN";
    case NumberKind::kInfinite:
      return "infinite value";
    case NumberKind::kOutOfRange:
      return "number beyond the range of a double";
  }
  return "not a number";
}

}  // namespace gradoracle
