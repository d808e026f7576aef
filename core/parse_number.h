#ifndef GRADORACLE_CORE_PARSE_NUMBER_H_
#define GRADORACLE_CORE_PARSE_NUMBER_H_

#include "absl/strings/string_view.h"

namespace gradoracle {

// What a text turned out to be.
enum class NumberKind { kFinite, kEmpty, kNotANumber, kDecimalComma, kNan, kInfinite, kOutOfRange };

// Reads the whole of `text` as a decimal number, to the nearest double, whatever the locale: digits with an optional
// sign, point and exponent ("1", "-.5", "+5.", "1e-3"). Magnitudes too small for a double round to zero (the nearest
// double), too large ones are kOutOfRange. No spaces, no hexadecimal. `value` is set for kFinite only.
NumberKind ParseNumber(absl::string_view text, double& value);

// For error messages: "empty field", "not a number" ... Never quotes the text, which may be private.
absl::string_view DescribeNumberKind(NumberKind kind);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_PARSE_NUMBER_H_
