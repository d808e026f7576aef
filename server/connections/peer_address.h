#ifndef GRADORACLE_SERVER_CONNECTIONS_PEER_ADDRESS_H_
#define GRADORACLE_SERVER_CONNECTIONS_PEER_ADDRESS_H_

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace gradoracle {

// Where a TCP connection comes from. An IPv4 address is held as ::ffff:a.b.c.d, which is also how a socket of both
// families shows it. The scope of a link-local address is left out.
struct PeerAddress {
  using Ip = std::array<uint8_t, 16>;

  Ip ip = {};
  uint16_t port = 0;

  // Who is counted as one client: an IPv4 address, or the /64 of an IPv6 address, which one machine has to itself.
  Ip Block() const;
  // "192.0.2.1", "2001:db8::1": without the port.
  std::string IpText() const;

  auto operator<=>(const PeerAddress&) const = default;
};

// Nothing for other families.
std::optional<PeerAddress> PeerFromSocket(const sockaddr_storage& address);

// Reads what gRPC calls a peer: "ipv4:127.0.0.1:4711", "ipv6:%5B::1%5D:4711". Nothing for anything else (such as calls
// within one process).
std::optional<PeerAddress> PeerFromGrpc(absl::string_view peer);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_PEER_ADDRESS_H_
