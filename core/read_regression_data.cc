#include "core/read_regression_data.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/byte_source.h"
#include "core/csv_reader.h"
#include "core/errors.h"
#include "core/huge_pages.h"
#include "core/npy_file.h"
#include "core/parse_number.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

absl::Status DataError(absl::string_view reason, absl::string_view message) {
  return InvalidField(reason, "data", message);
}

// The column called `name` among x0 ... x<cols - 1>; -1 when there is none.
int64_t FindColumn(const std::string& name, int64_t cols) {
  if (name.empty()) return cols - 1;
  int64_t column = 0;
  if (name[0] != 'x' || !absl::SimpleAtoi(name.substr(1), &column) || column < 0 || column >= cols) return -1;
  return absl::StrCat("x", column) == name ? column : -1;
}

// The array is [X y] but for the place of y; it is read in blocks and split as it comes.
absl::StatusOr<RegressionData> ReadNpyRegressionData(const NpyReader& reader, const ReadOptions& options) {
  const std::string& name = reader.name();
  const int64_t rows = reader.rows();
  const int64_t cols = reader.cols();
  if (reader.dimensions() != 2) return DataError("DATA_SHAPE", absl::StrCat(name, ": has 1 dimension; 2 are needed"));
  if (rows == 0) return DataError("DATA_NO_ROWS", absl::StrCat(name, ": has no rows; at least one is needed"));
  if (cols < 2) {
    return DataError("DATA_NO_FEATURES",
                     absl::StrCat(name, ": has ", cols, " columns; at least one feature and the target are needed"));
  }
  const int64_t target = FindColumn(options.target, cols);
  if (target < 0) {
    return InvalidField("DATA_TARGET_MISSING", "target",
                        absl::StrCat(name, ": there is no column \"", options.target,
                                     "\" to be the target; the columns are x0 to x", cols - 1));
  }
  const int64_t max_rows = std::min(kMaxRows, std::max<int64_t>(0, options.max_matrix_bytes) / 8 / cols);
  if (rows > max_rows || cols > static_cast<int64_t>(kMaxColumns)) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE", "data",
        absl::StrCat(name, ": holds ", rows, " rows of ", cols, " columns; at most ", kMaxRows, " rows, ", kMaxColumns,
                     " columns and max_matrix_bytes = ", options.max_matrix_bytes, " bytes of float64 are read"));
  }

  RegressionData data;
  for (int64_t column = 0; column < cols; ++column) {
    if (column != target) data.feature_names.push_back(absl::StrCat("x", column));
  }
  data.target_name = absl::StrCat("x", target);
  data.features.resize(rows, cols - 1);
  AdviseHugePages(data.features.data(), static_cast<size_t>(data.features.size()) * sizeof(double));
  data.targets.resize(rows);
  AdviseHugePages(data.targets.data(), static_cast<size_t>(rows) * sizeof(double));

  RowMajorMatrix block(std::min(rows, reader.rows_per_block()), cols);
  for (int64_t first = 0; first < rows; first += block.rows()) {
    const int64_t count = std::min<int64_t>(block.rows(), rows - first);
    GRADORACLE_RETURN_IF_ERROR(reader.ReadRows(first, count, block.data()));
    for (int64_t i = 0; i < count; ++i) {
      const auto row = block.row(i);
      if (!row.allFinite()) {
        int64_t column = 0;
        while (std::isfinite(row[column])) ++column;
        return DataError(
            "DATA_NOT_FINITE",
            absl::StrCat(name, ":", first + i + 1, ":", column + 1, ": column \"x", column,
                         "\": ", DescribeNumberKind(std::isnan(row[column]) ? NumberKind::kNan : NumberKind::kInfinite),
                         "; every entry must be a finite number"));
      }
      data.features.row(first + i).head(target) = row.head(target);
      data.features.row(first + i).tail(cols - 1 - target) = row.tail(cols - 1 - target);
      data.targets[first + i] = row[target];
    }
  }
  return data;
}

absl::StatusOr<RegressionData> ReadByEnding(const std::string& path, const ReadOptions& options) {
  if (absl::EndsWithIgnoreCase(path, ".npy")) {
    GRADORACLE_ASSIGN_OR_RETURN(const NpyReader reader, NpyReader::Open(path));
    return ReadNpyRegressionData(reader, options);
  }
  const bool compressed = absl::EndsWithIgnoreCase(path, ".csv.gz");
  if (!compressed && !absl::EndsWithIgnoreCase(path, ".csv")) {
    return DataError("DATA_FORMAT_UNKNOWN", absl::StrCat(path, ": the name must end in .csv, .csv.gz or .npy"));
  }
  GRADORACLE_ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, OpenByteSource(path));
  if (compressed) source = GunzipByteSource(std::move(source));
  return ReadCsv(*source, path, options);
}

}  // namespace

absl::StatusOr<RegressionData> ReadRegressionData(const std::string& path, const ReadOptions& options) {
  try {
    return ReadByEnding(path, options);
  } catch (const std::bad_alloc&) {
    return MakeError(absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE", "data",
                     absl::StrCat(path, ": there is no memory for so much data"));
  }
}

}  // namespace gradoracle
