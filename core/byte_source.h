#ifndef GRADORACLE_CORE_BYTE_SOURCE_H_
#define GRADORACLE_CORE_BYTE_SOURCE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradoracle {

// A stream of bytes read once from front to back: a file, memory, or either through gunzip. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Fills `out` (not empty) and returns how many bytes were written; fewer than out.size() only at the end of the data,
  // 0 from then on. A reader must read until fewer come back: only then has gzip's checksum been verified.
  // Errors: kInvalidArgument (reason DATA_...); the message does not name the file, the caller knows it.
  virtual absl::StatusOr<size_t> Read(absl::Span<char> out) = 0;

  // Share of the underlying (compressed) bytes consumed so far, in [0, 1]; 0 when unknown. A guess for sizing memory.
  virtual double FractionRead() const = 0;
};

// Errors: kNotFound (reason DATA_NOT_FOUND), kInvalidArgument (DATA_UNREADABLE); the message names the path.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenByteSource(const std::string& path);

// `bytes` must outlive the source.
std::unique_ptr<ByteSource> MemoryByteSource(absl::string_view bytes);

// Decompresses gzip (RFC 1952), concatenated members included. Errors of Read: DATA_NOT_GZIP, DATA_GZIP_CORRUPT
// (checksum or length too), DATA_GZIP_TRUNCATED, DATA_GZIP_TRAILING (something else after the last member).
// Memory: a fixed 128 KiB, whatever the data expands to; how much is too much is the reader's decision.
std::unique_ptr<ByteSource> GunzipByteSource(std::unique_ptr<ByteSource> compressed);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_BYTE_SOURCE_H_
