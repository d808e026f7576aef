#include "core/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

absl::Status SourceError(absl::string_view reason, absl::string_view message) {
  return InvalidField(reason, "data", message);
}

class FileSource : public ByteSource {
 public:
  FileSource(int descriptor, int64_t size) : descriptor_(descriptor), size_(size) {}
  ~FileSource() override { close(descriptor_); }

  absl::StatusOr<size_t> Read(absl::Span<char> out) override {
    size_t filled = 0;
    while (filled < out.size()) {
      const ssize_t got = read(descriptor_, out.data() + filled, out.size() - filled);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return SourceError("DATA_UNREADABLE", absl::StrCat("cannot be read: ", std::strerror(errno)));
      if (got == 0) break;
      filled += static_cast<size_t>(got);
    }
    consumed_ += static_cast<int64_t>(filled);
    return filled;
  }

  double FractionRead() const override {
    return size_ > 0 ? std::min(1.0, static_cast<double>(consumed_) / static_cast<double>(size_)) : 0;
  }

 private:
  const int descriptor_;
  const int64_t size_;  // 0 for a pipe
  int64_t consumed_ = 0;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(absl::string_view bytes) : bytes_(bytes) {}

  absl::StatusOr<size_t> Read(absl::Span<char> out) override {
    const size_t count = std::min(out.size(), bytes_.size() - consumed_);
    if (count > 0) std::memcpy(out.data(), bytes_.data() + consumed_, count);
    consumed_ += count;
    return count;
  }

  double FractionRead() const override {
    return bytes_.empty() ? 0 : static_cast<double>(consumed_) / static_cast<double>(bytes_.size());
  }

 private:
  const absl::string_view bytes_;
  size_t consumed_ = 0;
};

class GunzipSource : public ByteSource {
 public:
  explicit GunzipSource(std::unique_ptr<ByteSource> compressed)
      : compressed_(std::move(compressed)), input_(size_t{64} << 10) {
    constexpr int kGzipOnly = 16;  // added to the window bits: a gzip header is demanded, zlib's own is not accepted
    initialised_ = inflateInit2(&stream_, kGzipOnly + MAX_WBITS) == Z_OK;
  }
  ~GunzipSource() override {
    if (initialised_) inflateEnd(&stream_);
  }

  absl::StatusOr<size_t> Read(absl::Span<char> out) override {
    if (!initialised_) return SourceError("DATA_UNREADABLE", "gunzip could not be started: out of memory");
    size_t filled = 0;
    while (filled < out.size() && !finished_) {
      GRADORACLE_ASSIGN_OR_RETURN(const bool more, Refill());
      if (!more) {
        if (!between_members_)
          return SourceError("DATA_GZIP_TRUNCATED", "the gzip data ends too early: truncated file");
        finished_ = true;
        break;
      }
      const size_t wanted = std::min(out.size() - filled, size_t{1} << 30);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + filled);
      stream_.avail_out = static_cast<uInt>(wanted);
      between_members_ = false;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      filled += wanted - stream_.avail_out;
      if (result == Z_STREAM_END) {
        ++members_;
        between_members_ = true;
        inflateReset(&stream_);  // the next member, if any, starts where this one ended
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return Explain(result);
      }
    }
    return filled;
  }

  // What waits in the input buffer is not read yet: of a small file that would be nearly all.
  double FractionRead() const override {
    if (compressed_bytes_ == 0) return 0;
    return compressed_->FractionRead() * (1 - static_cast<double>(stream_.avail_in) / compressed_bytes_);
  }

 private:
  // Returns whether compressed bytes are at hand.
  absl::StatusOr<bool> Refill() {
    if (stream_.avail_in > 0) return true;
    GRADORACLE_ASSIGN_OR_RETURN(const size_t got, compressed_->Read(absl::MakeSpan(input_)));
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(got);
    compressed_bytes_ += static_cast<double>(got);
    return got > 0;
  }

  absl::Status Explain(int result) const {
    if (result == Z_MEM_ERROR) return SourceError("DATA_UNREADABLE", "gunzip ran out of memory");
    const absl::string_view what = stream_.msg != nullptr ? stream_.msg : "invalid data";
    if (what == "incorrect header check") {
      if (members_ == 0) return SourceError("DATA_NOT_GZIP", "the name ends in .gz but the contents are not gzip");
      return SourceError("DATA_GZIP_TRAILING", "something that is not gzip follows the end of the gzip data");
    }
    return SourceError("DATA_GZIP_CORRUPT", absl::StrCat("the gzip data is corrupt: ", what));
  }

  const std::unique_ptr<ByteSource> compressed_;
  std::vector<char> input_;
  z_stream stream_ = {};
  bool initialised_ = false;
  double compressed_bytes_ = 0;
  int64_t members_ = 0;           // finished
  bool between_members_ = false;  // the end of the input is welcome here, and nowhere else
  bool finished_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSource>> OpenByteSource(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const int error = errno;
    const std::string message = absl::StrCat(path, ": cannot be opened: ", std::strerror(error));
    if (error == ENOENT) return MakeError(absl::StatusCode::kNotFound, "DATA_NOT_FOUND", "data", message);
    return SourceError("DATA_UNREADABLE", message);
  }
  struct stat status = {};
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  return std::make_unique<FileSource>(descriptor, regular ? static_cast<int64_t>(status.st_size) : 0);
}

std::unique_ptr<ByteSource> MemoryByteSource(absl::string_view bytes) { return std::make_unique<MemorySource>(bytes); }

std::unique_ptr<ByteSource> GunzipByteSource(std::unique_ptr<ByteSource> compressed) {
  return std::make_unique<GunzipSource>(std::move(compressed));
}

}  // namespace gradoracle
