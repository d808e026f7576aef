#include "core/npy.h"

#include <algorithm>
#include <array>
#include <new>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/huge_pages.h"
#include "core/npy_file.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Block by block: a Fortran-order file is transposed piecewise, each piece while it is in cache.
absl::Status ReadAllRows(const NpyReader& reader, double* out) {
  const int64_t block = reader.rows_per_block();
  for (int64_t first = 0; first < reader.rows(); first += block) {
    const int64_t count = std::min(block, reader.rows() - first);
    GRADORACLE_RETURN_IF_ERROR(reader.ReadRows(first, count, out + first * reader.cols()));
  }
  return absl::OkStatus();
}

absl::Status OutOfMemory(const NpyReader& reader) {
  return MakeError(
      absl::StatusCode::kResourceExhausted, "NPY_TOO_LARGE", "",
      absl::StrCat(reader.name(), ": no memory for ", reader.rows(), " rows of ", reader.cols(), " columns"));
}

}  // namespace

absl::StatusOr<RowMajorMatrix> ReadNpyMatrix(const std::string& path) {
  GRADORACLE_ASSIGN_OR_RETURN(const NpyReader reader, NpyReader::Open(path));
  if (reader.dimensions() != 2) {
    return InvalidField("NPY_SHAPE", "", absl::StrCat(path, ": has 1 dimension; a matrix has 2"));
  }
  try {
    RowMajorMatrix matrix(reader.rows(), reader.cols());
    AdviseHugePages(matrix.data(), static_cast<size_t>(matrix.size()) * sizeof(double));
    GRADORACLE_RETURN_IF_ERROR(ReadAllRows(reader, matrix.data()));
    return matrix;
  } catch (const std::bad_alloc&) {
    return OutOfMemory(reader);
  }
}

absl::StatusOr<Eigen::VectorXd> ReadNpyVector(const std::string& path) {
  GRADORACLE_ASSIGN_OR_RETURN(const NpyReader reader, NpyReader::Open(path));
  if (reader.rows() != 1 && reader.cols() != 1) {
    return InvalidField("NPY_SHAPE", "",
                        absl::StrCat(path, ": has shape (", reader.rows(), ", ", reader.cols(),
                                     "); a vector has 1 dimension, or a single row or column"));
  }
  try {
    Eigen::VectorXd vector(reader.rows() * reader.cols());
    GRADORACLE_RETURN_IF_ERROR(ReadAllRows(reader, vector.data()));
    return vector;
  } catch (const std::bad_alloc&) {
    return OutOfMemory(reader);
  }
}

absl::Status WriteNpy(const std::string& path, const Eigen::Ref<const RowMajorMatrix>& matrix) {
  GRADORACLE_ASSIGN_OR_RETURN(NpyWriter writer, NpyWriter::Create(path));
  const auto cols = static_cast<size_t>(matrix.cols());
  if (matrix.outerStride() == matrix.cols()) {
    GRADORACLE_RETURN_IF_ERROR(writer.Append({matrix.data(), static_cast<size_t>(matrix.size())}));
  } else {
    for (Eigen::Index row = 0; row < matrix.rows(); ++row) {
      GRADORACLE_RETURN_IF_ERROR(writer.Append({matrix.data() + row * matrix.outerStride(), cols}));
    }
  }
  return writer.Finish(std::array<int64_t, 2>{matrix.rows(), matrix.cols()});
}

absl::Status WriteNpyVector(const std::string& path, const Eigen::Ref<const Eigen::VectorXd>& vector) {
  GRADORACLE_ASSIGN_OR_RETURN(NpyWriter writer, NpyWriter::Create(path));
  GRADORACLE_RETURN_IF_ERROR(writer.Append({vector.data(), static_cast<size_t>(vector.size())}));
  return writer.Finish(std::array<int64_t, 1>{vector.size()});
}

}  // namespace gradoracle
