// libFuzzer target: any bytes as an .npy file. A header that is accepted must describe exactly the bytes that follow,
// and reading by rows must agree with reading at once.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "core/errors.h"
#include "core/npy_file.h"

namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(bytes), size);
  const absl::StatusOr<gradoracle::NpyReader> reader = gradoracle::NpyReader::FromBytes(input, "fuzz.npy");
  if (!reader.ok()) {
    Check(absl::StartsWith(reader.status().message(), "fuzz.npy: "), "an error names the file");
    Check(gradoracle::ErrorReason(reader.status()).has_value(), "an error has a reason");
    return 0;
  }
  const int64_t rows = reader->rows();
  const int64_t cols = reader->cols();
  Check(rows >= 0 && cols >= 0 && (cols == 0 || rows <= static_cast<int64_t>(size) / cols),
        "no more numbers than bytes");
  const int64_t count = rows * cols;
  std::vector<double> whole(static_cast<size_t>(count));
  Check(reader->ReadRows(0, rows, whole.data()).ok(), "what the header promises is there");
  if (count == 0) return 0;
  std::vector<double> pieces(static_cast<size_t>(count));
  const int64_t step = std::max<int64_t>(1, rows / 3);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t taken = std::min(step, rows - first);
    Check(reader->ReadRows(first, taken, pieces.data() + first * cols).ok(), "a block of rows is there");
  }
  Check(std::memcmp(whole.data(), pieces.data(), whole.size() * sizeof(double)) == 0, "blocks agree with the whole");
  return 0;
}
