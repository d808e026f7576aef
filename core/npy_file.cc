#include "core/npy_file.h"

// GCC 12 with sanitizers sees ghosts inside std::regex, which xtensor uses.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "xtensor/xnpy.hpp"

namespace gradoracle {

static_assert(std::endian::native == std::endian::little, "the byte order of .npy files is handled for x86 only");

// Bytes at any offset, of a file or of memory.
class NpyReader::Bytes {
 public:
  virtual ~Bytes() = default;
  virtual int64_t size() const = 0;
  // Returns an explanation, empty when all `count` bytes were read.
  virtual std::string ReadAt(int64_t offset, int64_t count, char* out) const = 0;
};

namespace {

// Longer than any header of a plain array (NumPy pads to 128); xtensor's regular expressions recurse once a character.
constexpr int64_t kMaxHeaderBytes = 1024;
constexpr int64_t kWrittenHeaderBytes = 128;  // of every 1-d or 2-d float64 array

absl::Status NpyError(absl::string_view reason, absl::string_view name, absl::string_view message) {
  return InvalidField(reason, "", absl::StrCat(name, ": ", message));
}

class FileBytes : public NpyReader::Bytes {
 public:
  FileBytes(int descriptor, int64_t size) : descriptor_(descriptor), size_(size) {}
  ~FileBytes() override { close(descriptor_); }

  int64_t size() const override { return size_; }
  std::string ReadAt(int64_t offset, int64_t count, char* out) const override {
    while (count > 0) {
      const ssize_t got = pread(descriptor_, out, static_cast<size_t>(count), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return absl::StrCat("cannot be read: ", std::strerror(errno));
      if (got == 0) return "became shorter while it was read";
      offset += got;
      count -= got;
      out += got;
    }
    return "";
  }

 private:
  const int descriptor_;
  const int64_t size_;
};

class MemoryBytes : public NpyReader::Bytes {
 public:
  explicit MemoryBytes(absl::string_view bytes) : bytes_(bytes) {}

  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  std::string ReadAt(int64_t offset, int64_t count, char* out) const override {
    if (offset > size() || count > size() - offset) return "ends too early";
    if (count > 0) std::memcpy(out, bytes_.data() + offset, static_cast<size_t>(count));
    return "";
  }

 private:
  const absl::string_view bytes_;
};

// What xtensor's parser takes for granted: a printable dictionary ending in a line feed, with a tuple of extents last.
bool HeaderIsWellFormed(absl::string_view header) {
  if (header.empty() || header.back() != '\n') return false;
  header.remove_suffix(1);
  if (!std::all_of(header.begin(), header.end(), [](char c) { return c >= ' ' && c <= '~'; })) return false;
  const size_t shape = header.find("'shape'");
  if (shape == absl::string_view::npos || header.find('{') != 0) return false;
  header.remove_prefix(shape + std::strlen("'shape'"));
  // ": (12, 3), }" and spaces; "3L" is what Python 2 wrote.
  const auto take = [&header](absl::string_view allowed) {
    header.remove_prefix(std::min(header.find_first_not_of(allowed), header.size()));
  };
  const auto take_one = [&header](char c) {
    if (header.empty() || header[0] != c) return false;
    header.remove_prefix(1);
    return true;
  };
  take(" ");
  if (!take_one(':')) return false;
  take(" ");
  if (!take_one('(')) return false;
  take("0123456789L, ");
  if (!take_one(')')) return false;
  take(", ");
  if (!take_one('}')) return false;
  take(" ");
  return header.empty();
}

// Reads `count` words of type T from `in` to every stride-th place of `out`.
template <typename T>
void Convert(const char* in, int64_t count, bool swap_bytes, double* out, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    char word[sizeof(T)];
    std::memcpy(word, in + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    if (swap_bytes) std::reverse(word, word + sizeof(T));
    T value;
    std::memcpy(&value, word, sizeof(T));
    out[i * stride] = static_cast<double>(value);
  }
}

using Converter = void (*)(const char*, int64_t, bool, double*, int64_t);

// nullptr for types that are not read (float16, complex, text, objects, structures ...).
Converter FindConverter(char kind, int word_size) {
  switch (kind) {
    case 'f':
      return word_size == 8 ? &Convert<double> : word_size == 4 ? &Convert<float> : nullptr;
    case 'i':
      return word_size == 8   ? &Convert<int64_t>
             : word_size == 4 ? &Convert<int32_t>
             : word_size == 2 ? &Convert<int16_t>
             : word_size == 1 ? &Convert<int8_t>
                              : nullptr;
    case 'u':
      return word_size == 8   ? &Convert<uint64_t>
             : word_size == 4 ? &Convert<uint32_t>
             : word_size == 2 ? &Convert<uint16_t>
             : word_size == 1 ? &Convert<uint8_t>
                              : nullptr;
    case 'b':
      return word_size == 1 ? &Convert<uint8_t> : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace

NpyReader::NpyReader(std::unique_ptr<Bytes> bytes, const std::string& name) : bytes_(std::move(bytes)), name_(name) {}
NpyReader::NpyReader(NpyReader&&) noexcept = default;
NpyReader& NpyReader::operator=(NpyReader&&) noexcept = default;
NpyReader::~NpyReader() = default;

absl::StatusOr<NpyReader> NpyReader::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const int error = errno;
    const std::string message = absl::StrCat("cannot be opened: ", std::strerror(error));
    if (error != ENOENT) return NpyError("NPY_UNREADABLE", path, message);
    return MakeError(absl::StatusCode::kNotFound, "NPY_NOT_FOUND", "", absl::StrCat(path, ": ", message));
  }
  struct stat status = {};
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  NpyReader reader(std::make_unique<FileBytes>(descriptor, regular ? static_cast<int64_t>(status.st_size) : 0), path);
  if (!regular) return NpyError("NPY_UNREADABLE", path, "is not a regular file");
  GRADORACLE_RETURN_IF_ERROR(reader.ReadHeader());
  return reader;
}

absl::StatusOr<NpyReader> NpyReader::FromBytes(absl::string_view bytes, const std::string& name) {
  NpyReader reader(std::make_unique<MemoryBytes>(bytes), name);
  GRADORACLE_RETURN_IF_ERROR(reader.ReadHeader());
  return reader;
}

absl::Status NpyReader::ReadHeader() {
  constexpr absl::string_view kMagic = "\x93NUMPY";
  constexpr int64_t kShortest = 10;  // magic, version, two bytes of length
  char preamble[12] = {};
  const int64_t preamble_size = std::min<int64_t>(bytes_->size(), sizeof(preamble));
  if (const std::string error = bytes_->ReadAt(0, preamble_size, preamble); !error.empty()) {
    return NpyError("NPY_UNREADABLE", name_, error);
  }
  if (preamble_size < kShortest || absl::string_view(preamble, kMagic.size()) != kMagic) {
    return NpyError("NPY_NOT_NPY", name_, "is not a .npy file (its first bytes are not \\x93NUMPY)");
  }
  // xtensor's own reading of the length goes wrong from 128 on (it shifts signed characters), so it is read here.
  const auto byte = [&preamble](int i) { return static_cast<int64_t>(static_cast<uint8_t>(preamble[i])); };
  const int64_t major = byte(6);
  if (major < 1 || major > 3)
    return NpyError("NPY_HEADER", name_, "has an unknown version of the format; 1 to 3 are read");
  const int64_t header_offset = major == 1 ? 10 : 12;
  const int64_t header_size =
      major == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (header_size > kMaxHeaderBytes) {
    return NpyError(
        "NPY_HEADER", name_,
        absl::StrCat("has a header longer than ", kMaxHeaderBytes, " bytes; only plain arrays of numbers are read"));
  }
  if (header_offset + header_size > bytes_->size()) return NpyError("NPY_SIZE", name_, "ends inside its header");
  std::string header(static_cast<size_t>(header_size), '\0');
  if (const std::string error = bytes_->ReadAt(header_offset, header_size, header.data()); !error.empty()) {
    return NpyError("NPY_UNREADABLE", name_, error);
  }
  data_offset_ = header_offset + header_size;

  while (header.size() > 1 && header.back() == '\n' && header[header.size() - 2] == ' ')
    header.erase(header.size() - 2, 1);
  constexpr absl::string_view kTypes =
      "float64, float32, integers and booleans are read; in NumPy: array.astype('float64')";
  std::vector<size_t> shape;
  std::string type;
  if (!HeaderIsWellFormed(header)) return NpyError("NPY_HEADER", name_, "has a malformed header");
  try {
    xt::detail::parse_header(header, type, &fortran_order_, shape);
  } catch (const std::exception& error) {  // its text may quote nothing, but says whether the type was to blame
    if (absl::string_view(error.what()).find("typestring") != absl::string_view::npos) {
      return NpyError("NPY_TYPE", name_, absl::StrCat("does not hold plain numbers; ", kTypes));
    }
    return NpyError("NPY_HEADER", name_, "has a malformed header");
  }
  // `type` is one of < > |, one of i f u c b, digits.
  kind_ = type[1];
  word_size_ = type.size() == 3 ? type[2] - '0' : 0;
  swap_bytes_ = type[0] == '>';
  if (FindConverter(kind_, word_size_) == nullptr) {
    return NpyError("NPY_TYPE", name_, absl::StrCat("holds numbers of type ", type.substr(0, 8), "; ", kTypes));
  }
  if (shape.size() != 1 && shape.size() != 2) {
    return NpyError("NPY_SHAPE", name_, absl::StrCat("has ", shape.size(), " dimensions; 1 or 2 are read"));
  }
  const size_t rows = shape[0];
  const size_t cols = shape.size() == 2 ? shape[1] : 1;
  constexpr auto kMax = static_cast<size_t>(std::numeric_limits<int64_t>::max());
  size_t count = 0;
  size_t bytes = 0;
  if (rows > kMax || cols > kMax || __builtin_mul_overflow(rows, cols, &count) ||
      __builtin_mul_overflow(count, static_cast<size_t>(word_size_), &bytes) ||
      bytes > kMax - static_cast<size_t>(data_offset_)) {
    return NpyError("NPY_SHAPE", name_, "has a shape whose size overflows 63 bits");
  }
  if (static_cast<size_t>(data_offset_) + bytes != static_cast<size_t>(bytes_->size())) {
    return NpyError("NPY_SIZE", name_,
                    absl::StrCat("is ", bytes_->size(), " bytes long, but its shape (", absl::StrJoin(shape, ", "),
                                 ") needs ", static_cast<size_t>(data_offset_) + bytes, ": truncated or damaged"));
  }
  dimensions_ = static_cast<int>(shape.size());
  rows_ = static_cast<int64_t>(rows);
  cols_ = static_cast<int64_t>(cols);
  return absl::OkStatus();
}

absl::Status NpyReader::ReadRows(int64_t first, int64_t count, double* out) const {
  if (!fortran_order_) return ReadRun(first * cols_, count * cols_, out, 1);
  for (int64_t column = 0; column < cols_; ++column) {
    GRADORACLE_RETURN_IF_ERROR(ReadRun(column * rows_ + first, count, out + column, cols_));
  }
  return absl::OkStatus();
}

// Reads consecutive elements of the file to every stride-th place of `out`.
absl::Status NpyReader::ReadRun(int64_t first_element, int64_t count, double* out, int64_t stride) const {
  int64_t offset = data_offset_ + first_element * word_size_;
  if (kind_ == 'f' && word_size_ == 8 && !swap_bytes_ && stride == 1) {  // straight into place
    const std::string error = bytes_->ReadAt(offset, count * word_size_, reinterpret_cast<char*>(out));
    return error.empty() ? absl::OkStatus() : NpyError("NPY_UNREADABLE", name_, error);
  }
  const Converter convert = FindConverter(kind_, word_size_);
  char buffer[16384];
  const int64_t capacity = static_cast<int64_t>(sizeof(buffer)) / word_size_;
  while (count > 0) {
    const int64_t piece = std::min(count, capacity);
    const std::string error = bytes_->ReadAt(offset, piece * word_size_, buffer);
    if (!error.empty()) return NpyError("NPY_UNREADABLE", name_, error);
    convert(buffer, piece, swap_bytes_, out, stride);
    offset += piece * word_size_;
    out += piece * stride;
    count -= piece;
  }
  return absl::OkStatus();
}

int64_t NpyReader::rows_per_block() const {
  constexpr int64_t kBlockValues = int64_t{1} << 17;
  return std::max<int64_t>(1, kBlockValues / std::max<int64_t>(1, cols_));
}

absl::StatusOr<NpyWriter> NpyWriter::Create(const std::string& path) {
  static std::atomic<uint64_t> counter = 0;
  constexpr int kTries = 100;
  int error = EEXIST;
  for (int i = 0; i < kTries && error == EEXIST; ++i) {
    const std::string temporary_path = absl::StrCat(path, ".tmp-", getpid(), "-", counter.fetch_add(1));
    const int descriptor = open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return NpyWriter(path, temporary_path, descriptor);
    error = errno;
  }
  return NpyError("NPY_UNWRITABLE", path, absl::StrCat("cannot be written: ", std::strerror(error)));
}

NpyWriter::NpyWriter(NpyWriter&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::move(other.temporary_path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      values_(other.values_) {}

NpyWriter::~NpyWriter() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(temporary_path_.c_str());
}

absl::Status NpyWriter::Append(absl::Span<const double> values) {
  const int64_t offset = kWrittenHeaderBytes + values_ * static_cast<int64_t>(sizeof(double));
  GRADORACLE_RETURN_IF_ERROR(
      WriteAll({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)}, offset));
  values_ += static_cast<int64_t>(values.size());
  return absl::OkStatus();
}

absl::Status NpyWriter::Finish(absl::Span<const int64_t> shape) {
  int64_t product = 1;
  bool fits = shape.size() == 1 || shape.size() == 2;
  for (const int64_t extent : shape) fits = fits && extent >= 0 && !__builtin_mul_overflow(product, extent, &product);
  if (!fits || product != values_) {
    return NpyError(
        "NPY_SHAPE", path_,
        absl::StrCat("the shape (", absl::StrJoin(shape, ", "), ") does not fit the ", values_, " values written"));
  }
  std::ostringstream header;
  xt::detail::write_header(header, "<f8", false, std::vector<int64_t>(shape.begin(), shape.end()));
  if (header.str().size() != static_cast<size_t>(kWrittenHeaderBytes)) {
    return absl::InternalError("an .npy header is not 128 bytes long");
  }
  GRADORACLE_RETURN_IF_ERROR(WriteAll(header.str(), 0));
  // Closing can still fail (quota, network file systems); only then may the file take its name.
  if (close(std::exchange(descriptor_, -1)) != 0 || std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    unlink(temporary_path_.c_str());
    return Unwritable(error);
  }
  return absl::OkStatus();
}

absl::Status NpyWriter::WriteAll(absl::string_view bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Unwritable(errno);
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status NpyWriter::Unwritable(int error) const {
  return NpyError("NPY_UNWRITABLE", path_, absl::StrCat("cannot be written: ", std::strerror(error)));
}

}  // namespace gradoracle
