#include "server/service/grpc_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "core/errors.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "gtest/gtest.h"
#include "proto/conversion.h"
#include "server/connections/self_probe.h"
#include "server/identity/server_credentials.h"
#include "tests/server/eventually.h"
#include "tests/server/identity/test_certificates.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

constexpr std::chrono::seconds kPatience(30);

// A caller that says HTTP/2's hello and then reads without ever answering a ping.
class MuteCaller {
 public:
  explicit MuteCaller(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval patience = {.tv_sec = kPatience.count(), .tv_usec = 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in target = {};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<uint16_t>(port));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)), 0);
    const std::string hello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 33);
    EXPECT_EQ(send(socket_.get(), hello.data(), hello.size(), MSG_NOSIGNAL), 33);
  }

  // Whether the server ends the connection. What it said is in `received`.
  bool IsEnded(std::string* received = nullptr) {
    std::array<char, 4096> bytes;
    while (true) {
      const ssize_t got = recv(socket_.get(), bytes.data(), bytes.size(), 0);
      if (got > 0 && received != nullptr) received->append(bytes.data(), static_cast<size_t>(got));
      if (got == 0 || (got < 0 && errno == ECONNRESET)) return true;
      if (got < 0) return false;
    }
  }

 private:
  FileDescriptor socket_;
};

TestOracle::Options With(const GrpcServerOptions& server) {
  TestOracle::Options options;
  options.server = server;
  return options;
}

// The three settings below reach connections that gRPC did not accept itself; each would otherwise stay for minutes.
TEST(GrpcServer, AnIdleConnectionIsClosed) {
  TestOracle oracle(With({.connection_idle = absl::Milliseconds(200)}));
  EXPECT_TRUE(MuteCaller(oracle.server().port()).IsEnded());
}

TEST(GrpcServer, AnOldConnectionIsClosed) {
  TestOracle oracle(With({.connection_age = absl::Milliseconds(200), .connection_age_grace = absl::Milliseconds(200)}));
  EXPECT_TRUE(MuteCaller(oracle.server().port()).IsEnded());
}

TEST(GrpcServer, AConnectionThatDoesNotAnswerPingsIsClosed) {
  TestOracle oracle(
      With({.keepalive_interval = absl::Milliseconds(200), .keepalive_timeout = absl::Milliseconds(200)}));
  std::string received;
  EXPECT_TRUE(MuteCaller(oracle.server().port()).IsEnded(&received));
  EXPECT_NE(received.find(std::string("\0\0\x08\x06\0", 5)), std::string::npos);  // a ping
}

// Would catch connections that are not counted out when gRPC closes them: after `connections` of them nobody would get
// in.
TEST(GrpcServer, ConnectionsAreCountedOutWhenTheyEnd) {
  ConnectionTable connections{ConnectionLimits()};
  TestOracle oracle(With({.connections = &connections}));
  {
    const auto channel = oracle.Tcp();
    ASSERT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + kPatience));
    EXPECT_EQ(connections.size(), 1);
  }
  EXPECT_TRUE(Eventually([&] { return connections.size() == 0; }));
  for (int i = 0; i < 200; ++i) {  // far more than one address may have at once
    const MuteCaller caller(oracle.server().port());
    ASSERT_TRUE(Eventually([&] { return connections.size() < 64; }));
  }
  EXPECT_TRUE(Eventually([&] { return connections.size() == 0; }));
}

// Would catch a port that takes callers while the server waits for others to finish.
TEST(GrpcServer, ShutdownClosesThePortFirst) {
  TestOracle oracle;
  const int port = oracle.server().port();
  EXPECT_TRUE(ListenOn({.host = "127.0.0.1", .port = port}).status().code() == absl::StatusCode::kInvalidArgument);
  oracle.server().Shutdown(absl::Now());
  EXPECT_TRUE(ListenOn({.host = "127.0.0.1", .port = port}).ok());
}

// Would catch work done, and paid for, by calls of a connection that asks too much at once.
TEST(GrpcServer, CallsBeyondTheLimitDoNoWork) {
  ConnectionTable connections({.calls = {.calls_in_flight = 0}});
  TestOracle::Options options = With({.connections = &connections});
  options.service.connections = &connections;
  TestOracle oracle(options);
  const auto stub = v1::OracleService::NewStub(oracle.Tcp());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  v1::GetGradientResponse response;
  v1::GetGradientRequest request;
  for (int i = 0; i < 5; ++i) request.add_weights(0.1);
  request.set_batch_size(32);
  const grpc::Status status = stub->GetGradient(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_EQ(oracle.gradients_charged(), 0);
}

// Would catch a caller that waits for ever for one gradient, and a time that streams are held to as well.
TEST(GrpcServer, AUnaryCallThatTakesTooLongIsCancelled) {
  std::atomic<bool> hold = true;
  TestOracle::Options options = With({.unary_timeout = absl::Milliseconds(100)});
  options.service.on_computed = [&](int64_t, int64_t) {
    while (hold) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  TestOracle oracle(options);
  const auto stub = v1::OracleService::NewStub(oracle.Tcp());
  grpc::ClientContext streaming;
  streaming.set_deadline(std::chrono::system_clock::now() + kPatience);
  v1::StreamGradientsRequest stream_request;
  for (int i = 0; i < 5; ++i) stream_request.add_weights(0.1);
  stream_request.set_batch_size(32);
  stream_request.set_count(1);
  const auto reader = stub->StreamGradients(&streaming, stream_request);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  v1::GetGradientRequest request;
  *request.mutable_weights() = stream_request.weights();
  request.set_batch_size(32);
  v1::GetGradientResponse response;
  const grpc::Status status = stub->GetGradient(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED) << status.error_message();
  hold = false;
  v1::StreamGradientsResponse chunk;
  EXPECT_TRUE(reader->Read(&chunk));
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_TRUE(reader->Finish().ok());
}

// The self-probe over TLS. Would catch a server that ends itself because its certificate is nobody's the probe knows,
// or because callers must have one; and a probe that takes silence, or another protocol, for an answer.
TEST(GrpcServer, TheSelfProbeIsAnsweredOverTls) {
  const TestCertificates files;
  files.MakeAuthority("ca");
  files.Make("server", "ca", "IP:127.0.0.1");
  const TlsFiles tls = {files.Path("server.pem"), files.Path("server.key"), files.Path("ca.pem")};
  for (const bool require_client_certificate : {false, true}) {
    TestOracle::Options options;
    options.credentials = MakeTlsCredentials(tls, require_client_certificate).value();
    TestOracle oracle(options);
    const sockaddr_storage address = oracle.server().addresses().front();
    EXPECT_TRUE(ProbeOnce(address, /*tls=*/true, nullptr, absl::Seconds(30)).ok()) << require_client_certificate;
    EXPECT_FALSE(ProbeOnce(address, /*tls=*/false, nullptr, absl::Seconds(30)).ok());
    oracle.server().Shutdown(absl::Now());
    EXPECT_FALSE(ProbeOnce(address, /*tls=*/true, nullptr, absl::Seconds(30)).ok());
  }
}

}  // namespace
}  // namespace gradoracle
