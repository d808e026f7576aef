#include "server/operations/admin_http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "server/operations/metrics.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Says `request` and reads until the server closes.
std::string Ask(int port, const std::string& request) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience = {.tv_sec = 30, .tv_usec = 0};
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  sockaddr_in target = {};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(port));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(descriptor, reinterpret_cast<const sockaddr*>(&target), sizeof(target)), 0);
  EXPECT_EQ(send(descriptor, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  std::string answer;
  std::array<char, 4096> bytes;
  for (ssize_t got; (got = recv(descriptor, bytes.data(), bytes.size(), 0)) > 0;) {
    answer.append(bytes.data(), static_cast<size_t>(got));
  }
  close(descriptor);
  return answer;
}

struct AdminHttpServerTest : testing::Test {
  AdminHttpServerTest() {
    auto started =
        AdminHttpServer::Start({.host = "127.0.0.1", .port = 0}, {metrics.collectable()}, [this] { return obstacles; });
    EXPECT_TRUE(started.ok()) << started.status();
    if (started.ok()) server = *std::move(started);
  }
  std::string Get(const std::string& path, const std::string& method = "GET") const {
    return Ask(server->address().port, method + " " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
  }

  Metrics metrics;
  std::vector<std::string> obstacles;
  std::unique_ptr<AdminHttpServer> server;
};

// Would catch a process that is restarted, or traffic that is sent to it, against what it says of itself.
TEST_F(AdminHttpServerTest, ReadinessSaysWhatIsInTheWayAndLivenessDoesNot) {
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 200 "));
  obstacles = {"shutting down", "the ledger does not work"};
  const std::string answer = Get("/readyz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nshutting down\nthe ledger does not work\n"));
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(AdminHttpServerTest, MetricsAreServedAsPrometheusReadsThem) {
  metrics.GradientsComputed(41);
  const std::string answer = Get("/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("\ngradoracle_gradients_computed_total 41\n"));
}

// Would catch a port that changes something, tells more than it should, or hangs on nonsense.
TEST_F(AdminHttpServerTest, NothingElseIsThere) {
  EXPECT_THAT(Get("/metrics", "POST"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(Get("/"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Get("/../../etc/passwd"), Not(HasSubstr("root:")));
  const std::string head = Get("/livez", "HEAD");
  EXPECT_THAT(head, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("ok\n")));
  Ask(server->address().port, "\x16\x03\x01 no HTTP at all\r\n\r\n");
  EXPECT_THAT(Get("/" + std::string(100'000, 'x')), Not(HasSubstr(" 200 ")));
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(AdminHttpServerTest, ATakenPortIsAnError) {
  const auto second = AdminHttpServer::Start(server->address(), {}, [] { return std::vector<std::string>(); });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(ErrorReason(second.status()), "LISTEN_FAILED");
  EXPECT_EQ(ErrorField(second.status()), "admin_listen");
}

}  // namespace
}  // namespace gradoracle
