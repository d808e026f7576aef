#include "server/connections/listening_sockets.h"

#include <netinet/in.h>

#include <set>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/connections/peer_address.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

bool MachineHasIpv6() { return ListenOn({.host = "::1", .port = 0}).ok(); }

std::set<std::string> IpTexts(const ListeningSockets& sockets) {
  std::set<std::string> ips;
  for (const sockaddr_storage& address : sockets.addresses) ips.insert(PeerFromSocket(address)->IpText());
  return ips;
}

TEST(ListenOn, PicksAPort) {
  const auto sockets = ListenOn({.host = "127.0.0.1", .port = 0});
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(sockets->descriptors.size(), 1U);
  EXPECT_GT(sockets->port, 0);
  EXPECT_EQ(PeerFromSocket(sockets->addresses[0])->port, sockets->port);
}

// Would catch SO_REUSEPORT, with which two servers share a port, and a wildcard beside a taken port.
TEST(ListenOn, ATakenPortIsAnError) {
  const auto first = ListenOn({.host = "127.0.0.1", .port = 0});
  ASSERT_TRUE(first.ok()) << first.status();
  for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0", "::"}) {
    const auto second = ListenOn({.host = host, .port = first->port});
    ASSERT_FALSE(second.ok()) << host;
    EXPECT_EQ(ErrorReason(second.status()), "LISTEN_ADDRESS");
    EXPECT_EQ(ErrorField(second.status()), "listen");
    EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
  }
}

TEST(ListenOn, TheSamePortForAllAddressesOfAName) {
  const auto sockets = ListenOn({.host = "localhost", .port = 0});
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(IpTexts(*sockets).count("127.0.0.1"), 1U);
  for (const sockaddr_storage& address : sockets->addresses) EXPECT_EQ(PeerFromSocket(address)->port, sockets->port);
}

// Would catch a wildcard that hears one family only (as gRPC's own listener heard both).
TEST(ListenOn, EitherWildcardHearsBothFamilies) {
  for (const char* host : {"0.0.0.0", "::"}) {
    const auto sockets = ListenOn({.host = host, .port = 0});
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    sockaddr_in target = {};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<uint16_t>(sockets->port));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const FileDescriptor caller(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(caller.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)), 0) << host;
    if (!MachineHasIpv6()) continue;
    sockaddr_in6 target6 = {};
    target6.sin6_family = AF_INET6;
    target6.sin6_port = target.sin_port;
    target6.sin6_addr = in6addr_loopback;
    const FileDescriptor caller6(socket(AF_INET6, SOCK_STREAM, 0));
    EXPECT_EQ(connect(caller6.get(), reinterpret_cast<const sockaddr*>(&target6), sizeof(target6)), 0) << host;
  }
}

TEST(ListenOn, ForeignAndUnknownAddressesAreErrors) {
  for (const char* host : {"192.0.2.1", "2001:db8::1", "no-such-host.invalid"}) {
    const auto sockets = ListenOn({.host = host, .port = 0});
    ASSERT_FALSE(sockets.ok()) << host;
    EXPECT_THAT(std::string(sockets.status().message()), HasSubstr(host));
  }
}

}  // namespace
}  // namespace gradoracle
