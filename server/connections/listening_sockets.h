#ifndef GRADORACLE_SERVER_CONNECTIONS_LISTENING_SOCKETS_H_
#define GRADORACLE_SERVER_CONNECTIONS_LISTENING_SOCKETS_H_

#include <sys/socket.h>

#include <vector>

#include "absl/status/statusor.h"
#include "server/connections/file_descriptor.h"
#include "server/operations/listen_address.h"

namespace gradoracle {

struct ListeningSockets {
  std::vector<FileDescriptor> descriptors;  // non-blocking, listening, all on `port`
  std::vector<sockaddr_storage> addresses;  // of each
  int port = 0;
};

// Listens on every address of the host: all addresses of a name, and for either wildcard IPv6 and IPv4 by one socket
// where the machine has IPv6. Port 0 picks one, the same for all. Addresses that this machine does not have are left
// out while one is left; a taken port is an error: SO_REUSEADDR is set, so that a restart does not wait for connections
// of the last run, SO_REUSEPORT is not. Errors: kInvalidArgument LISTEN_ADDRESS, field listen.
absl::StatusOr<ListeningSockets> ListenOn(const ListenAddress& address);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_LISTENING_SOCKETS_H_
