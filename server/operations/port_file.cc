#include "server/operations/port_file.h"

#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

absl::Status Failed(const std::string& path, absl::string_view what, absl::string_view why) {
  return MakeError(absl::StatusCode::kUnavailable, "PORT_FILE", "port_file",
                   absl::StrCat("--port-file ", path, ": ", what, ": ", why));
}

}  // namespace

absl::Status WritePortFile(const std::string& path, const ListenAddress& address) {
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  std::ofstream file(temporary);
  file << address.ToString() << "\n";
  file.close();
  if (file && rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const std::string why = std::strerror(errno);
  unlink(temporary.c_str());
  return Failed(path, "cannot be written", why);
}

absl::Status RemovePortFile(const std::string& path) {
  // Only what a server wrote, or nothing: a mistyped name must not cost the owner a file.
  std::error_code ignored;
  const bool something = std::filesystem::exists(path, ignored) && std::filesystem::file_size(path, ignored) != 0;
  if (something && !ReadPortFile(path).ok()) {
    return InvalidField(
        "PORT_FILE", "port_file",
        absl::StrCat("--port-file ", path, ": exists and does not hold the address of a server; give another name"));
  }
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return Failed(path, "the file an earlier server left cannot be removed", std::strerror(errno));
}

absl::StatusOr<ListenAddress> ReadPortFile(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return Failed(path, "holds no address", "the server may not be ready yet");
  absl::StatusOr<ListenAddress> address = ParseListenAddress(absl::StripAsciiWhitespace(line));
  if (!address.ok()) return Failed(path, "holds no address", address.status().message());
  return address;
}

}  // namespace gradoracle
