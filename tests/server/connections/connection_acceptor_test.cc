#include "server/connections/connection_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/connections/descriptor_limit.h"
#include "server/operations/log.h"
#include "tests/server/eventually.h"

namespace gradoracle {
namespace {

constexpr std::chrono::seconds kPatience(30);

// An acceptor that keeps what it accepts, in place of gRPC.
class ConnectionAcceptorTest : public ::testing::Test {
 protected:
  void Start(const ConnectionLimits& limits) {
    table_ = std::make_unique<ConnectionTable>(limits);
    auto sockets = ListenOn({.host = "127.0.0.1", .port = 0});
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    acceptor_ = std::make_unique<ConnectionAcceptor>(*std::move(sockets), table_.get(), nullptr, [this](int socket) {
      const std::lock_guard<std::mutex> lock(mutex_);
      handed_over_.emplace_back(socket);
    });
  }

  FileDescriptor Connect() const {
    sockaddr_in target = {};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<uint16_t>(acceptor_->port()));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    FileDescriptor caller(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience = {.tv_sec = kPatience.count(), .tv_usec = 0};
    setsockopt(caller.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(caller.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) caller.Close();
    return caller;
  }

  // Whether the other side ended the connection.
  static bool Ended(const FileDescriptor& caller) {
    char byte;
    return !caller.valid() || recv(caller.get(), &byte, 1, 0) == 0 || errno == ECONNRESET;
  }

  size_t handed_over() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return handed_over_.size();
  }
  FileDescriptor Take(size_t i) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::move(handed_over_.at(i));
  }

  std::unique_ptr<ConnectionTable> table_;
  std::mutex mutex_;
  std::vector<FileDescriptor> handed_over_;  // guarded by mutex_
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

// Would catch options that gRPC's own listener sets and this one forgets: small messages would wait for each other.
TEST_F(ConnectionAcceptorTest, HandsOverSocketsReadyForGrpc) {
  Start({});
  const FileDescriptor caller = Connect();
  ASSERT_TRUE(Eventually([this] { return handed_over() == 1; }));
  const FileDescriptor accepted = Take(0);
  EXPECT_NE(fcntl(accepted.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC, 0);
  for (const int option : {TCP_NODELAY, TCP_USER_TIMEOUT}) {
    int value = 0;
    socklen_t size = sizeof(value);
    ASSERT_EQ(getsockopt(accepted.get(), IPPROTO_TCP, option, &value, &size), 0);
    EXPECT_NE(value, 0);
  }
}

// Would catch a limit that is not in force, and connections that are never counted out: by an orderly end, by a reset,
// or by the server's own shutdown while the caller keeps its half open.
TEST_F(ConnectionAcceptorTest, CountsInAndOut) {
  Start({.connections = 10, .connections_per_address = 3});
  std::vector<FileDescriptor> callers;
  for (int i = 0; i < 3; ++i) callers.push_back(Connect());
  ASSERT_TRUE(Eventually([this] { return handed_over() == 3; }));
  EXPECT_EQ(table_->size(), 3);
  EXPECT_TRUE(Ended(Connect()));
  EXPECT_EQ(handed_over(), 3U);

  // gRPC's way: it reads the end of the caller, shuts its socket down and closes it.
  callers[0].Close();
  EXPECT_EQ(table_->size(), 3);  // half open: not yet ended
  FileDescriptor first = Take(0);
  shutdown(first.get(), SHUT_RDWR);
  EXPECT_TRUE(Eventually([this] { return table_->size() == 2; }));
  first.Close();

  const linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(callers[1].get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  callers[1].Close();
  EXPECT_TRUE(Eventually([this] { return table_->size() == 1; }));

  shutdown(Take(2).get(), SHUT_RDWR);
  EXPECT_TRUE(Eventually([this] { return table_->size() == 0; }));
  EXPECT_TRUE(Ended(callers[2]));
  EXPECT_NE(Connect().get(), -1);
  EXPECT_TRUE(Eventually([this] { return handed_over() == 4; }));
}

// Would catch an abort that leaves gRPC the megabytes that have been received already.
TEST_F(ConnectionAcceptorTest, AnAbortThrowsAwayWhatWasReceived) {
  Start({});
  const FileDescriptor caller = Connect();
  const std::string frames(100'000, 'x');
  ASSERT_EQ(send(caller.get(), frames.data(), frames.size(), MSG_NOSIGNAL), static_cast<ssize_t>(frames.size()));
  ASSERT_TRUE(Eventually([this] { return handed_over() == 1; }));
  const FileDescriptor accepted = Take(0);
  char byte;
  ASSERT_TRUE(Eventually([&] { return recv(accepted.get(), &byte, 1, MSG_PEEK) == 1; }));
  sockaddr_in own = {};
  socklen_t size = sizeof(own);
  getsockname(caller.get(), reinterpret_cast<sockaddr*>(&own), &size);
  const auto found = table_->Find("ipv4:127.0.0.1:" + std::to_string(ntohs(own.sin_port)));
  ASSERT_NE(found.connection, nullptr);
  found.connection->Abort();
  EXPECT_LE(recv(accepted.get(), &byte, 1, 0), 0);
  EXPECT_TRUE(Ended(caller));
  EXPECT_TRUE(Eventually([this] { return table_->size() == 0; }));
}

// Would catch the deafness of gRPC's own listener (CVE-2023-4785): no descriptors for a while must not be no callers
// for ever, and whoever comes meanwhile is turned away at once, not left waiting.
TEST_F(ConnectionAcceptorTest, SurvivesRunningOutOfDescriptors) {
  Start({});
  // UBSan looks at each type's first object by way of a pipe; without descriptors it would take the log's for invalid.
  Log(LogLevel::kWarning, "about to run out of descriptors", {{"descriptors", 0}});
  std::vector<FileDescriptor> callers;
  for (int i = 0; i < 5; ++i) callers.push_back(FileDescriptor(socket(AF_INET, SOCK_STREAM, 0)));
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  // Descriptors are counted from the lowest free number: this leaves none.
  const FileDescriptor lowest(dup(0));
  const rlimit none = {static_cast<rlim_t>(lowest.get()), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_in target = {};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(acceptor_->port()));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const FileDescriptor& caller : callers) {
    const timeval patience = {.tv_sec = kPatience.count(), .tv_usec = 0};
    setsockopt(caller.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ASSERT_EQ(connect(caller.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)), 0);
    EXPECT_TRUE(Ended(caller));
  }
  EXPECT_EQ(handed_over(), 0U);
  EXPECT_EQ(table_->size(), 0);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  const FileDescriptor caller = Connect();
  EXPECT_TRUE(Eventually([this] { return handed_over() == 1; }));
}

// Would catch a socket that gRPC is handed after its shutdown began, which it never closes.
TEST_F(ConnectionAcceptorTest, StopsAcceptingAndStillSeesEnds) {
  Start({});
  const FileDescriptor before = Connect();
  ASSERT_TRUE(Eventually([this] { return handed_over() == 1; }));
  acceptor_->StopAccepting();
  acceptor_->StopAccepting();
  EXPECT_FALSE(Connect().valid());
  EXPECT_EQ(handed_over(), 1U);
  EXPECT_EQ(table_->size(), 1);
  shutdown(Take(0).get(), SHUT_RDWR);
  EXPECT_TRUE(Eventually([this] { return table_->size() == 0; }));
}

TEST_F(ConnectionAcceptorTest, LeavesNoDescriptorBehind) {
  const int64_t before = OpenDescriptors();
  Start({});
  for (int i = 0; i < 50; ++i) {
    const FileDescriptor caller = Connect();
    ASSERT_TRUE(Eventually([this, i] { return handed_over() == static_cast<size_t>(i) + 1; }));
    shutdown(Take(i).get(), SHUT_RDWR);
  }
  EXPECT_TRUE(Eventually([this] { return table_->size() == 0; }));
  acceptor_.reset();
  EXPECT_EQ(OpenDescriptors(), before);
}

}  // namespace
}  // namespace gradoracle
