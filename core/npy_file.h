#ifndef GRADORACLE_CORE_NPY_FILE_H_
#define GRADORACLE_CORE_NPY_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Arrays in NumPy's .npy format, in blocks of rows, so that arrays larger than memory can be read and written.
// core/npy.h reads and writes whole matrices over these.
namespace gradoracle {

// Reads versions 1 to 3 of the format; 1-d or 2-d arrays of float64, float32, (un)signed integers of 8 to 64 bits or
// booleans, either byte order, C or Fortran order. Everything becomes double (integers beyond 2^53 are rounded).
// A 1-d array of length k counts as (k, 1). Not thread-safe.
class NpyReader {
 public:
  // Checks the header, and that the file holds exactly header + product of the shape: nothing is allocated by the
  // shape. Errors: kNotFound (NPY_NOT_FOUND); kInvalidArgument (NPY_UNREADABLE, NPY_NOT_NPY, NPY_HEADER, NPY_TYPE,
  // NPY_SHAPE, NPY_SIZE), the message starting with the path.
  static absl::StatusOr<NpyReader> Open(const std::string& path);
  // The same of an array in memory; `bytes` must outlive the reader, `name` stands in messages.
  static absl::StatusOr<NpyReader> FromBytes(absl::string_view bytes, const std::string& name);

  NpyReader(NpyReader&&) noexcept;
  NpyReader& operator=(NpyReader&&) noexcept;
  ~NpyReader();

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int dimensions() const { return dimensions_; }  // 1 or 2
  const std::string& name() const { return name_; }

  // Reads rows [first, first + count) into `out`, count * cols() doubles, C order. Values may be non-finite.
  // Requires 0 <= first, first + count <= rows(). Errors: kInvalidArgument NPY_UNREADABLE (also: the file shrank).
  absl::Status ReadRows(int64_t first, int64_t count, double* out) const;

  // How many rows make a block that is quick to read and small beside a large matrix (about 1 MiB); at least 1.
  int64_t rows_per_block() const;

  class Bytes;  // random access, see npy_file.cc

 private:
  explicit NpyReader(std::unique_ptr<Bytes> bytes, const std::string& name);
  absl::Status ReadHeader();
  absl::Status ReadRun(int64_t first_element, int64_t count, double* out, int64_t stride) const;

  std::unique_ptr<Bytes> bytes_;
  std::string name_;
  char kind_ = 'f';          // f, i, u, b
  int word_size_ = 8;        // bytes
  bool swap_bytes_ = false;  // big-endian
  bool fortran_order_ = false;
  int dimensions_ = 2;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t data_offset_ = 0;
};

// Writes one float64 C-order array of version 1.0 piece by piece. The shape is given last, so that an interrupted
// computation can keep what it has. Until Finish has renamed it into place the file has a temporary name in the same
// folder; a writer that is destroyed unfinished removes it.
class NpyWriter {
 public:
  // Errors: kInvalidArgument NPY_UNWRITABLE.
  static absl::StatusOr<NpyWriter> Create(const std::string& path);

  NpyWriter(NpyWriter&& other) noexcept;
  NpyWriter& operator=(NpyWriter&&) = delete;
  ~NpyWriter();

  absl::Status Append(absl::Span<const double> values);
  // `shape`: 1 or 2 extents whose product is the number of values appended. Errors: kInvalidArgument NPY_SHAPE,
  // NPY_UNWRITABLE.
  absl::Status Finish(absl::Span<const int64_t> shape);

 private:
  NpyWriter(const std::string& path, const std::string& temporary_path, int descriptor)
      : path_(path), temporary_path_(temporary_path), descriptor_(descriptor) {}
  absl::Status WriteAll(absl::string_view bytes, int64_t offset);
  absl::Status Unwritable(int error) const;

  std::string path_;
  std::string temporary_path_;
  int descriptor_;  // -1: finished or moved from
  int64_t values_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_NPY_FILE_H_
