#include "server/connections/listening_sockets.h"

#include <netdb.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/freer.h"
#include "core/status_macros.h"
#include "server/connections/peer_address.h"

namespace gradoracle {
namespace {

constexpr int kBacklog = 1'024;  // the kernel takes less when net.core.somaxconn says so
// Port 0 on several addresses: the port that the first one gets may be taken on the second.
constexpr int kPortAttempts = 16;

absl::Status CannotListen(const ListenAddress& address, absl::string_view why) {
  return InvalidField("LISTEN_ADDRESS", "listen",
                      absl::StrCat("listen is '", address.ToString(), "', on which this process cannot listen: ", why));
}

void SetPort(sockaddr_storage& address, int port) {
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  const uint16_t network_order = htons(static_cast<uint16_t>(port));
  std::memcpy(reinterpret_cast<char*>(&address) + offsetof(sockaddr_in, sin_port), &network_order,
              sizeof(network_order));
}

sockaddr_storage Ipv6Wildcard() {
  sockaddr_storage address = {};
  address.ss_family = AF_INET6;  // :: is all zeros
  return address;
}

sockaddr_storage Ipv4Wildcard() {
  sockaddr_storage address = {};
  address.ss_family = AF_INET;
  return address;
}

absl::StatusOr<std::vector<sockaddr_storage>> Resolve(const ListenAddress& address) {
  const addrinfo hints = {.ai_flags = AI_PASSIVE,
                          .ai_family = AF_UNSPEC,
                          .ai_socktype = SOCK_STREAM,
                          .ai_protocol = 0,
                          .ai_addrlen = 0,
                          .ai_addr = nullptr,
                          .ai_canonname = nullptr,
                          .ai_next = nullptr};
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), "0", &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, Freer<freeaddrinfo>> owned(found);
  std::vector<sockaddr_storage> addresses;
  std::set<std::string> seen;  // a name can stand for the same address twice
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    sockaddr_storage copy = {};
    std::memcpy(&copy, one->ai_addr, one->ai_addrlen);
    if (!seen.emplace(reinterpret_cast<const char*>(one->ai_addr), one->ai_addrlen).second) continue;
    addresses.push_back(copy);
  }
  return addresses;
}

// A socket listening on `address`, whose port is filled in; otherwise -1 and errno.
FileDescriptor Listen(sockaddr_storage& address) {
  FileDescriptor descriptor(socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!descriptor.valid()) return descriptor;
  const int on = 1;
  const int off = 0;
  setsockopt(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.ss_family == AF_INET6) {
    const bool wildcard = PeerFromSocket(address)->ip == PeerAddress::Ip{};
    setsockopt(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY, wildcard ? &off : &on, sizeof(on));
  }
  const socklen_t size = address.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  socklen_t bound_size = sizeof(address);
  if (bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      listen(descriptor.get(), kBacklog) != 0 ||
      getsockname(descriptor.get(), reinterpret_cast<sockaddr*>(&address), &bound_size) != 0) {
    const int error = errno;
    descriptor.Close();
    errno = error;
  }
  return descriptor;
}

struct Attempt {
  ListeningSockets sockets;
  int error = 0;  // of the last address that failed
};

// All addresses on `port`; those that this machine lacks are left out.
Attempt ListenOnAll(const std::vector<sockaddr_storage>& addresses, int port) {
  Attempt attempt;
  attempt.sockets.port = port;
  for (sockaddr_storage address : addresses) {
    SetPort(address, attempt.sockets.port);
    FileDescriptor descriptor = Listen(address);
    if (!descriptor.valid()) {
      attempt.error = errno;
      if (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT) continue;
      attempt.sockets = {};
      return attempt;
    }
    attempt.sockets.port = PeerFromSocket(address)->port;
    attempt.sockets.descriptors.push_back(std::move(descriptor));
    attempt.sockets.addresses.push_back(address);
  }
  return attempt;
}

}  // namespace

absl::StatusOr<ListeningSockets> ListenOn(const ListenAddress& address) {
  if (address.IsWildcard()) {
    Attempt both = ListenOnAll({Ipv6Wildcard()}, address.port);
    if (!both.sockets.descriptors.empty()) return std::move(both.sockets);
    if (both.error == EADDRINUSE || both.error == EACCES) return CannotListen(address, std::strerror(both.error));
    Attempt ipv4 = ListenOnAll({Ipv4Wildcard()}, address.port);
    if (!ipv4.sockets.descriptors.empty()) return std::move(ipv4.sockets);
    return CannotListen(address, std::strerror(ipv4.error));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const std::vector<sockaddr_storage> addresses, Resolve(address));
  Attempt attempt;
  for (int i = 0; i < (address.port == 0 ? kPortAttempts : 1); ++i) {
    attempt = ListenOnAll(addresses, address.port);
    if (!attempt.sockets.descriptors.empty()) return std::move(attempt.sockets);
    if (attempt.error != EADDRINUSE) break;
  }
  return CannotListen(address, std::strerror(attempt.error));
}

}  // namespace gradoracle
