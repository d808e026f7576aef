#include "server/connections/peer_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

sockaddr_storage Ipv4(const char* ip, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, ip, &address.sin_addr);
  sockaddr_storage storage = {};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

sockaddr_storage Ipv6(const char* ip, int port) {
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET6, ip, &address.sin6_addr);
  sockaddr_storage storage = {};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

// Would catch a call whose connection is not found, which would then be refused or, worse, never limited.
TEST(PeerAddress, SocketAndGrpcSayTheSame) {
  const struct {
    sockaddr_storage socket;
    const char* grpc;
  } cases[] = {
      {Ipv4("127.0.0.1", 4711), "ipv4:127.0.0.1:4711"},
      {Ipv4("203.0.113.200", 65535), "ipv4:203.0.113.200:65535"},
      {Ipv6("::1", 4711), "ipv6:%5B::1%5D:4711"},
      {Ipv6("::1", 4711), "ipv6:[::1]:4711"},
      {Ipv6("2001:db8::a:b", 80), "ipv6:%5B2001:db8::a:b%5D:80"},
      {Ipv6("fe80::5054:ff:fe12:3456", 9), "ipv6:%5Bfe80::5054:ff:fe12:3456%252%5D:9"},
      {Ipv6("::ffff:192.0.2.7", 5), "ipv4:192.0.2.7:5"},  // IPv4 on a socket of both families
  };
  for (const auto& c : cases) {
    ASSERT_TRUE(PeerFromSocket(c.socket).has_value()) << c.grpc;
    EXPECT_EQ(PeerFromSocket(c.socket), PeerFromGrpc(c.grpc)) << c.grpc;
  }
}

TEST(PeerAddress, OtherPeersAreNone) {
  for (const char* peer :
       {"", "inproc", "unix:/tmp/x", "ipv4:", "ipv4:127.0.0.1", "ipv4:127.0.0.1:", "ipv4:127.0.0.1:x",
        "ipv4:127.0.0.1:70000", "ipv6:::1:5", "ipv6:%5B::1:5", "ipv6:%5B127.0.0.1%5D:5"}) {
    EXPECT_FALSE(PeerFromGrpc(peer).has_value()) << peer;
  }
  sockaddr_storage local = {};
  local.ss_family = AF_UNIX;
  EXPECT_FALSE(PeerFromSocket(local).has_value());
}

// Would catch an IPv6 machine that has 2^64 clients' worth of connections, or IPv4 clients counted as one.
TEST(PeerAddress, BlocksAreIpv4AddressesAndIpv6Networks) {
  const auto block = [](const char* peer) { return PeerFromGrpc(peer)->Block(); };
  EXPECT_EQ(block("ipv4:192.0.2.1:1"), block("ipv4:192.0.2.1:2"));
  EXPECT_NE(block("ipv4:192.0.2.1:1"), block("ipv4:192.0.2.2:1"));
  EXPECT_EQ(block("ipv6:[2001:db8:1:2:3:4:5:6]:1"), block("ipv6:[2001:db8:1:2::1]:9"));
  EXPECT_NE(block("ipv6:[2001:db8:1:2::1]:1"), block("ipv6:[2001:db8:1:3::1]:1"));
}

TEST(PeerAddress, TextForPeople) {
  EXPECT_EQ(PeerFromGrpc("ipv4:192.0.2.1:1")->IpText(), "192.0.2.1");
  EXPECT_EQ(PeerFromGrpc("ipv6:[2001:db8::1]:1")->IpText(), "2001:db8::1");
}

}  // namespace
}  // namespace gradoracle
