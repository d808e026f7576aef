#include "server/grpc_server.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/resource_quota.h"

namespace gradoracle {
namespace {

// Linking reflection installs it in every server of the process; this takes it out of one.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

void AddSettings(const GrpcServerOptions& options, grpc::ServerBuilder& builder);

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options, OracleService* oracle,
                                                              HealthService* health, Admission* admission) {
  // Once in a process, before its first builder.
  static const bool reflection_available = (grpc::reflection::InitProtoReflectionServerBuilderPlugin(), true);
  static_cast<void>(reflection_available);
  auto server = std::unique_ptr<GrpcServer>(new GrpcServer(health, admission, options.cut_short_grace));
  grpc::ServerBuilder builder;
  AddSettings(options, builder);
  builder.AddListeningPort(options.listen, options.credentials, &server->port_);
  builder.RegisterService(oracle);
  builder.RegisterService(health);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return InvalidField(
        "LISTEN_ADDRESS", "listen",
        absl::StrCat("listen is '", options.listen,
                     "', on which this process cannot listen: it must be HOST:PORT of this machine, and "
                     "the port must not be taken by another process"));
  }
  return server;
}

GrpcServer::~GrpcServer() { Shutdown(absl::Now()); }

std::shared_ptr<grpc::Channel> GrpcServer::InProcessChannel(const grpc::ChannelArguments& arguments) {
  return server_->InProcessChannel(arguments);
}

bool GrpcServer::Shutdown(absl::Time deadline) {
  if (shut_down_ || server_ == nullptr) return true;
  shut_down_ = true;
  admission_->StartDraining();
  health_->Shutdown();
  const bool idle = admission_->AwaitIdle(deadline);
  admission_->Terminate();
  // Also for a server found idle: the answer of its last call may still be on its way.
  server_->Shutdown(absl::ToChronoTime(absl::Now() + cut_short_grace_));
  server_->Wait();
  return idle;
}

namespace {

void AddSettings(const GrpcServerOptions& options, grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  const int64_t largest_request =
      std::min<int64_t>(16 * options.dimension + (int64_t{64} << 10), std::numeric_limits<int>::max());
  builder.SetMaxReceiveMessageSize(static_cast<int>(largest_request));
  builder.SetMaxSendMessageSize(-1);  // a single gradient may be large
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  builder.AddChannelArgument("grpc.server_handshake_timeout_ms", 5'000);
  // A dead peer is noticed within 40 s; a live one may ping every 10 s.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  // Connections are renewed, so that load moves to new servers; streams that are cut by it resume.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 5 * 60 * 1'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 30 * 60 * 1'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 30 * 1'000);
  grpc::ResourceQuota quota("gradoracle");
  quota.Resize(options.memory_quota_bytes);
  builder.SetResourceQuota(quota);
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
}

}  // namespace
}  // namespace gradoracle
