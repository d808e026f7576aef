#include "server/owner/token_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

absl::Status Unwritable(const std::string& path, int error) {
  return MakeError(absl::StatusCode::kUnavailable, "TOKEN_FILE_UNWRITABLE", "out",
                   absl::StrCat("--out ", path, ": the token cannot be written there: ", std::strerror(error)));
}

}  // namespace

absl::Status WriteTokenFile(const std::string& path, absl::string_view token) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0 && errno == EEXIST) {
    return InvalidField("TOKEN_FILE_EXISTS", "out",
                        absl::StrCat("--out ", path, ": exists; a token goes into a new file only"));
  }
  if (file < 0) return Unwritable(path, errno);
  const std::string line = absl::StrCat(token, "\n");
  const ssize_t written = write(file, line.data(), line.size());
  const bool stored = written == static_cast<ssize_t>(line.size()) && fchmod(file, 0600) == 0 && fsync(file) == 0;
  const int error = written >= 0 && written < static_cast<ssize_t>(line.size()) ? ENOSPC : errno;
  close(file);
  if (stored) return absl::OkStatus();
  unlink(path.c_str());
  return Unwritable(path, error);
}

}  // namespace gradoracle
