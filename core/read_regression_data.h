#ifndef GRADORACLE_CORE_READ_REGRESSION_DATA_H_
#define GRADORACLE_CORE_READ_REGRESSION_DATA_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/regression_data.h"

namespace gradoracle {

struct ReadOptions {
  // Name of the target column; empty: the last column. Features keep the order of the file without the target.
  std::string target;
  // Upper limit on the bytes of the final matrix, so that a gzip bomb or a wrong file ends in an error, not in the
  // out-of-memory killer. Default 64 GiB.
  int64_t max_matrix_bytes = int64_t{64} << 30;
};

// Reads `path` by its ending: .csv, .csv.gz (RFC 4180: header line, quoted fields, CRLF or LF, optional UTF-8 BOM; all
// fields finite numbers) or .npy (2-d, float64/float32/integers, C or Fortran order; columns are named x0 ... and the
// target is the last column, or the column whose name `x<j>` is given).
// Memory: at most 1.5 times the final matrix while loading.
// Errors: kNotFound (no such file), kInvalidArgument (reason DATA_... or, for a damaged .npy file, NPY_...; message
// "FILE:LINE:COLUMN: what, and what is allowed", both counted from 1, of a .npy file the row and column of the array;
// no field is ever quoted); kResourceExhausted DATA_TOO_LARGE (larger than max_matrix_bytes, 2^32 - 1 rows or 2^20
// columns, or than memory).
absl::StatusOr<RegressionData> ReadRegressionData(const std::string& path, const ReadOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_READ_REGRESSION_DATA_H_
