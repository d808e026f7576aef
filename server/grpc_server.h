#ifndef GRADORACLE_SERVER_GRPC_SERVER_H_
#define GRADORACLE_SERVER_GRPC_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/admission.h"
#include "server/health_service.h"
#include "server/oracle_service.h"

namespace gradoracle {

struct GrpcServerOptions {
  // HOST:PORT; port 0 picks one. A taken port is an error (gRPC would share it with the other process).
  std::string listen = "127.0.0.1:50051";
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  // d: a request is at most 16 d bytes + 64 KiB (weights take 8 d).
  int64_t dimension = 0;
  bool reflection = true;
  int max_streams_per_connection = 100;
  size_t memory_quota_bytes = size_t{256} << 20;  // of gRPC's buffers
  // Calls that were cut short get this long to tell their callers why before they are cancelled.
  absl::Duration cut_short_grace = absl::Milliseconds(500);
};

// The grpc::Server with the settings every gradoracle server has (limits, quota, keepalive: docs/operations). The
// services and admission must outlive it; it sets their health.
class GrpcServer {
 public:
  // Listens; health stays NOT_SERVING. Errors: kInvalidArgument LISTEN_ADDRESS, field listen (unparsable or taken).
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options, OracleService* oracle,
                                                           HealthService* health, Admission* admission);
  ~GrpcServer();  // Shutdown(now)
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int port() const { return port_; }
  // For tests in one process.
  std::shared_ptr<grpc::Channel> InProcessChannel(const grpc::ChannelArguments& arguments);

  // Refuses new calls with UNAVAILABLE and lets those in flight finish until `deadline`; what is then left ends with
  // UNAVAILABLE at its next chunk, and is cancelled if it does not. Returns when no call is left; true when none was
  // cut short. Health is the caller's to set NOT_SERVING earlier; here its watchers are closed. Call once.
  bool Shutdown(absl::Time deadline);

 private:
  GrpcServer(HealthService* health, Admission* admission, absl::Duration cut_short_grace)
      : health_(health), admission_(admission), cut_short_grace_(cut_short_grace) {}

  HealthService* const health_;
  Admission* const admission_;
  const absl::Duration cut_short_grace_;
  int port_ = 0;
  bool shut_down_ = false;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_GRPC_SERVER_H_
