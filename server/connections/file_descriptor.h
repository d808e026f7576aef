#ifndef GRADORACLE_SERVER_CONNECTIONS_FILE_DESCRIPTOR_H_
#define GRADORACLE_SERVER_CONNECTIONS_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace gradoracle {

// Owns a file descriptor; -1 is none.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(other.Release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor() { Close(); }

  int get() const { return descriptor_; }
  bool valid() const { return descriptor_ >= 0; }
  int Release() { return std::exchange(descriptor_, -1); }
  void Close() {
    if (valid()) close(Release());
  }

 private:
  int descriptor_ = -1;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_FILE_DESCRIPTOR_H_
