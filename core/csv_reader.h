#ifndef GRADORACLE_CORE_CSV_READER_H_
#define GRADORACLE_CORE_CSV_READER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/byte_source.h"
#include "core/read_regression_data.h"
#include "core/regression_data.h"

// Regression data from comma-separated values: RFC 4180 by libcsv in strict mode, plus what RFC 4180 leaves open:
//   text      UTF-8, a byte order mark is skipped; lines end in LF or CRLF (a lone CR, or a NUL byte, is an error)
//   header    one line of distinct names (core/column_names.h); a line of numbers only is refused: the header is
//   missing fields    decimal numbers (core/parse_number.h), quoted or not; spaces and tabs around a field are ignored
//   lines     all as long as the header; blank lines are allowed at the end only; the last newline may be missing
// Errors are kInvalidArgument with reason DATA_... and the message "NAME:LINE:COLUMN: what was found; what is allowed",
// LINE and COLUMN (the number of the field) counted from 1. No message quotes a field below the header.
namespace gradoracle {

// Bounds on what a hostile file can make the reader hold, besides ReadOptions::max_matrix_bytes; beyond:
// kResourceExhausted (a field: kInvalidArgument).
constexpr size_t kMaxFieldBytes = 4096;
constexpr size_t kMaxColumns = size_t{1} << 20;
constexpr int64_t kMaxLineBytes = int64_t{64} << 20;  // blank lines count into the next line that is not blank
constexpr int64_t kMaxRows = (int64_t{1} << 32) - 1;  // row indices are 32 bits wide

// Reads `source` to its end; `name` stands in messages. Memory: the result, grown in place (its unused tail is never
// touched), and under 1 MiB besides names and one line.
absl::StatusOr<RegressionData> ReadCsv(ByteSource& source, absl::string_view name, const ReadOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_CSV_READER_H_
