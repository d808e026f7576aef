#include "server/owner/admin_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr char kFolderSuffix[] = ".admin";
constexpr char kSocketName[] = "/socket";

absl::Status SocketError(absl::StatusCode code, const std::string& path, absl::string_view why) {
  return MakeError(code, "ADMIN_SOCKET", "ledger", absl::StrCat(path, ": ", why));
}

std::string FolderOf(const std::string& socket_path) { return socket_path.substr(0, socket_path.rfind('/')); }

}  // namespace

absl::StatusOr<std::string> AdminSocketPath(const std::string& ledger_file) {
  const std::string path = absl::StrCat(ledger_file, kFolderSuffix, kSocketName);
  constexpr size_t kMaxLength = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() <= kMaxLength) return path;
  return InvalidField("ADMIN_SOCKET_PATH", "ledger",
                      absl::StrCat("--ledger sqlite:", ledger_file, ": the owner's socket beside it, ", path, ", has ",
                                   path.size(), " bytes, but the system allows ", kMaxLength,
                                   "; give a shorter path, or one relative to the working folder"));
}

absl::Status MakeAdminFolder(const std::string& socket_path) {
  const std::string folder = FolderOf(socket_path);
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return SocketError(absl::StatusCode::kUnavailable, folder,
                       absl::StrCat("this folder for the owner's socket cannot be made: ", std::strerror(errno)));
  }
  struct stat status = {};
  if (lstat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid()) {
    return SocketError(absl::StatusCode::kPermissionDenied, folder,
                       "must be a folder of the user who serves, for the owner's socket; remove what is there");
  }
  if ((status.st_mode & 0777) == 0700 || chmod(folder.c_str(), 0700) == 0) return absl::OkStatus();
  return SocketError(absl::StatusCode::kUnavailable, folder,
                     absl::StrCat("others cannot be shut out of it: ", std::strerror(errno)));
}

void RemoveAdminFolder(const std::string& socket_path) {
  unlink(socket_path.c_str());
  rmdir(FolderOf(socket_path).c_str());
}

absl::StatusOr<bool> IsListening(const std::string& socket_path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return SocketError(absl::StatusCode::kUnavailable, socket_path, std::strerror(errno));
  const int error = connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(descriptor);
  if (error == EACCES || error == EPERM) {
    return SocketError(absl::StatusCode::kPermissionDenied, socket_path,
                       "belongs to a server of another user; run this as that user");
  }
  return error == 0;
}

std::string SocketTarget(const std::string& socket_path) {
  std::string target = "unix:";
  for (const char c : socket_path) {
    if (absl::ascii_isalnum(c) || absl::StrContains("/-._~", absl::string_view(&c, 1))) {
      target += c;
    } else {
      absl::StrAppend(&target, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return target;
}

}  // namespace gradoracle
