#ifndef GRADORACLE_SERVER_OPERATIONS_LISTEN_ADDRESS_H_
#define GRADORACLE_SERVER_OPERATIONS_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradoracle {

// Where a server listens: HOST:PORT.
struct ListenAddress {
  std::string host;  // an IPv4 address, an IPv6 address without its brackets, or a name
  int port = 0;      // 0 <= port <= 65535; 0 lets the system choose

  // "127.0.0.1:50051", "[::1]:50051".
  std::string ToString() const;
  // 127.0.0.0/8, ::1 or `localhost`. Any other name counts as not loopback, whatever it resolves to today.
  bool IsLoopback() const;
  // 0.0.0.0 or ::, every address of the machine.
  bool IsWildcard() const;
};

// Parses HOST:PORT; an IPv6 address needs brackets. Errors: kInvalidArgument LISTEN_ADDRESS; the message has the text
// and what is allowed, not the name of the setting it came from.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

// The address on which this machine reaches a server listening on `address`: loopback of the same family for a
// wildcard host, the address itself otherwise.
ListenAddress ProbeAddress(const ListenAddress& address);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_LISTEN_ADDRESS_H_
