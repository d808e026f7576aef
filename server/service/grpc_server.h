#ifndef GRADORACLE_SERVER_SERVICE_GRPC_SERVER_H_
#define GRADORACLE_SERVER_SERVICE_GRPC_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/admission/admission.h"
#include "server/connections/call_deadlines.h"
#include "server/connections/connection_acceptor.h"
#include "server/connections/connection_table.h"
#include "server/operations/metrics.h"
#include "server/service/health_service.h"
#include "server/service/oracle_service.h"

namespace gradoracle {

struct GrpcServerOptions {
  // HOST:PORT; port 0 picks one. A taken port is an error.
  std::string listen = "127.0.0.1:50051";
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  // d: a request is at most 16 d bytes + 64 KiB (weights take 8 d).
  int64_t dimension = 0;
  bool reflection = true;
  int max_streams_per_connection = 100;
  size_t memory_quota_bytes = size_t{256} << 20;  // of gRPC's buffers
  int max_synchronous_threads = 32;
  // Calls that were cut short get this long to tell their callers why before they are cancelled.
  absl::Duration cut_short_grace = absl::Milliseconds(500);
  // A message that has not gone out after this time ends its call; zero: never.
  absl::Duration write_timeout = absl::Seconds(60);
  // A unary call that has not ended after this time is cancelled; zero: never.
  absl::Duration unary_timeout = absl::Seconds(60);
  // A connection without calls is closed after `connection_idle`; any is renewed after `connection_age`, its calls get
  // `connection_age_grace` more. A silent one is asked after `keepalive_interval` and has `keepalive_timeout` to
  // answer.
  absl::Duration connection_idle = absl::Minutes(5);
  absl::Duration connection_age = absl::Minutes(30);
  absl::Duration connection_age_grace = absl::Seconds(30);
  absl::Duration keepalive_interval = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Limits of connections. Null: a table of its own with the default ones. Otherwise it must outlive the server.
  ConnectionTable* connections = nullptr;
  Metrics* metrics = nullptr;  // may be null; otherwise must outlive the server
};

// The grpc::Server with the settings every gradoracle server has (limits, quota, keepalive: docs/operations). The
// services and admission must outlive it; it sets their health.
class GrpcServer {
 public:
  // Listens; health stays NOT_SERVING. Errors: kInvalidArgument LISTEN_ADDRESS, field listen (unparsable or taken);
  // kInternal SERVER_NOT_BUILT when gRPC refuses its settings.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options, OracleService* oracle,
                                                           HealthService* health, Admission* admission);
  ~GrpcServer();  // Shutdown(now)
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int port() const { return acceptor_->port(); }
  // Where it listens, port included.
  const std::vector<sockaddr_storage>& addresses() const { return acceptor_->addresses(); }
  // For tests in one process.
  std::shared_ptr<grpc::Channel> InProcessChannel(const grpc::ChannelArguments& arguments);

  // Refuses new calls with UNAVAILABLE and lets those in flight finish until `deadline`; what is then left ends with
  // UNAVAILABLE at its next chunk, and is cancelled if it does not. New connections are refused from the start. Returns
  // when no call is left; true when none was cut short. Health is the caller's to set NOT_SERVING earlier; here its
  // watchers are closed. Call once.
  bool Shutdown(absl::Time deadline);

 private:
  GrpcServer(HealthService* health, Admission* admission, absl::Duration cut_short_grace)
      : health_(health), admission_(admission), cut_short_grace_(cut_short_grace) {}

  HealthService* const health_;
  Admission* const admission_;
  const absl::Duration cut_short_grace_;
  bool shut_down_ = false;
  std::unique_ptr<ConnectionTable> own_connections_;
  std::unique_ptr<CallDeadlines> write_deadlines_;
  std::unique_ptr<CallDeadlines> unary_deadlines_;
  // Destroyed from the bottom up: the acceptor hands its sockets to the one above, and that to the server.
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc_acceptor_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVICE_GRPC_SERVER_H_
