#include "core/column_names.h"

#include <cstdint>
#include <optional>

namespace gradoracle {
namespace {

// Takes one code point off the front of `text`; nullopt when it is not well-formed UTF-8 (RFC 3629: no overlong forms,
// no surrogates, nothing above U+10FFFF).
std::optional<uint32_t> TakeCodePoint(absl::string_view& text) {
  const auto byte = [&text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  size_t length = 0;
  uint32_t point = 0;
  uint32_t smallest = 0;
  if (lead < 0x80) {
    length = 1, point = lead, smallest = 0;
  } else if (lead >= 0xC2 && lead < 0xE0) {
    length = 2, point = lead & 0x1Fu, smallest = 0x80;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    length = 3, point = lead & 0x0Fu, smallest = 0x800;
  } else if (lead >= 0xF0 && lead < 0xF5) {
    length = 4, point = lead & 0x07u, smallest = 0x10000;
  } else {
    return std::nullopt;
  }
  if (text.size() < length) return std::nullopt;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    point = point << 6 | (byte(i) & 0x3Fu);
  }
  if (point < smallest || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return std::nullopt;
  text.remove_prefix(length);
  return point;
}

bool IsControl(uint32_t point) {
  return point < 0x20 || (point >= 0x7F && point < 0xA0)                         // C0, DEL, C1
         || point == 0x2028 || point == 0x2029                                   // line and paragraph separators
         || point == 0x200E || point == 0x200F || point == 0x061C                // direction marks
         || (point >= 0x202A && point <= 0x202E)                                 // direction overrides
         || (point >= 0x2066 && point <= 0x2069) || point == 0xFEFF              // isolates, byte order mark
         || (point & 0xFFFE) == 0xFFFE || (point >= 0xFDD0 && point <= 0xFDEF);  // not characters
}

}  // namespace

absl::string_view ColumnNameDefect(absl::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxColumnNameBytes) return "is longer than 256 bytes";
  if (absl::string_view("=+-@").find(name[0]) != absl::string_view::npos) {
    return "begins with one of = + - @, which spreadsheets run as a formula";
  }
  while (!name.empty()) {
    const std::optional<uint32_t> point = TakeCodePoint(name);
    if (!point.has_value()) return "is not valid UTF-8";
    if (IsControl(*point)) return "holds a control character";
  }
  return "";
}

}  // namespace gradoracle
