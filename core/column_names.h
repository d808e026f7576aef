#ifndef GRADORACLE_CORE_COLUMN_NAMES_H_
#define GRADORACLE_CORE_COLUMN_NAMES_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace gradoracle {

constexpr size_t kMaxColumnNameBytes = 256;

// Why `name` cannot name a column, in words that continue "the name of this column ..."; empty when it can.
// Names travel: into logs, JSON, terminals, and (when published) to callers and their spreadsheets. So they are 1 to
// kMaxColumnNameBytes bytes of UTF-8 without control characters (C0, C1, line separators, direction overrides, byte
// order marks) and do not begin with one of = + - @, which spreadsheets run as formulas.
absl::string_view ColumnNameDefect(absl::string_view name);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_COLUMN_NAMES_H_
