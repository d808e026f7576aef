#ifndef GRADORACLE_SERVER_OWNER_ADMIN_SOCKET_H_
#define GRADORACLE_SERVER_OWNER_ADMIN_SOCKET_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Where a serving process can be talked to by its owner: LEDGER.admin/socket beside the file LEDGER. The folder is the
// owner's alone (mode 0700), and made so before the socket is in it, whatever the umask.
namespace gradoracle {

// The path of the socket beside `ledger_file`. Errors: kInvalidArgument ADMIN_SOCKET_PATH: longer than the 107 bytes
// that the system allows for a socket's name.
absl::StatusOr<std::string> AdminSocketPath(const std::string& ledger_file);

// Makes the folder, or takes one of this user and shuts others out of it. Errors: kPermissionDenied ADMIN_SOCKET (a
// folder of another user, or no folder), kUnavailable ADMIN_SOCKET.
absl::Status MakeAdminFolder(const std::string& socket_path);
void RemoveAdminFolder(const std::string& socket_path);

// Whether a process listens there. Errors: kPermissionDenied ADMIN_SOCKET: one of another user.
absl::StatusOr<bool> IsListening(const std::string& socket_path);

// For gRPC: "unix:" and the path, percent-encoded.
std::string SocketTarget(const std::string& socket_path);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_ADMIN_SOCKET_H_
