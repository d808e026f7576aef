#include "server/operations/listen_address.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string text;
  std::string host;
  int port;
  bool loopback;
  bool wildcard;
};

// Would catch: an exposed address taken for loopback (then served without --insecure), the other way round, brackets
// lost when the address is printed.
TEST(ListenAddress, ReadsHostPortAndKind) {
  for (const Case& c :
       {Case{"127.0.0.1:50051", "127.0.0.1", 50051, true, false}, Case{"127.255.0.9:0", "127.255.0.9", 0, true, false},
        Case{"[::1]:65535", "::1", 65535, true, false}, Case{"localhost:1", "localhost", 1, true, false},
        Case{"LocalHost:1", "LocalHost", 1, true, false}, Case{"0.0.0.0:50051", "0.0.0.0", 50051, false, true},
        Case{"[::]:50051", "::", 50051, false, true}, Case{"128.0.0.1:1", "128.0.0.1", 1, false, false},
        Case{"[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, false, false},
        Case{"localhost.example.org:1", "localhost.example.org", 1, false, false},
        Case{"127.1:1", "127.1", 1, false, false}}) {
    SCOPED_TRACE(c.text);
    const auto address = ParseListenAddress(c.text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->host, c.host);
    EXPECT_EQ(address->port, c.port);
    EXPECT_EQ(address->IsLoopback(), c.loopback);
    EXPECT_EQ(address->IsWildcard(), c.wildcard);
    EXPECT_EQ(address->ToString(), c.text);
  }
}

// Would catch: an address gRPC reads in another way than we do (a URI, a bare IPv6 address, another base).
TEST(ListenAddress, RefusesEverythingElse) {
  for (const std::string text :
       {"", "localhost", ":50051", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:0x10", "127.0.0.1: 1",
        "127.0.0.1:+1", "::1:50051", "[::1]", "[127.0.0.1]:1", "[::1:1", "::1]:1", "unix:/tmp/socket:1",
        "dns:///localhost:1", "a_b:1", "host name:1", "127.0.0.1:99999999999999999999"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_THAT(std::string(address.status().message()), HasSubstr("'" + text + "'"));
  }
}

// Would catch: a health check that dials 0.0.0.0, or loopback although the server listens elsewhere.
TEST(ListenAddress, ProbesLoopbackOfTheSameFamilyForAWildcard) {
  EXPECT_EQ(ProbeAddress({.host = "0.0.0.0", .port = 7}).ToString(), "127.0.0.1:7");
  EXPECT_EQ(ProbeAddress({.host = "::", .port = 7}).ToString(), "[::1]:7");
  EXPECT_EQ(ProbeAddress({.host = "10.0.0.1", .port = 7}).ToString(), "10.0.0.1:7");
}

}  // namespace
}  // namespace gradoracle
