#include "server/service/grpc_server.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/resource_quota.h"
#include "server/connections/call_counter.h"
#include "server/connections/listening_sockets.h"
#include "server/operations/listen_address.h"

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
  GRADORACLE_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  GRADORACLE_ASSIGN_OR_RETURN(ListeningSockets sockets, ListenOn(address));
  auto server = std::unique_ptr<GrpcServer>(new GrpcServer(health, admission, options.cut_short_grace));
  ConnectionTable* connections = options.connections;
  if (connections == nullptr) {
    server->own_connections_ = std::make_unique<ConnectionTable>(ConnectionLimits());
    connections = server->own_connections_.get();
  }
  grpc::ServerBuilder builder;
  AddSettings(options, builder);
  using ExternalConnectionType = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  server->grpc_acceptor_ =
      builder.experimental().AddExternalConnectionAcceptor(ExternalConnectionType::FROM_FD, options.credentials);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  if (options.write_timeout > absl::ZeroDuration()) {
    server->write_deadlines_ = std::make_unique<CallDeadlines>(options.write_timeout);
  }
  if (options.unary_timeout > absl::ZeroDuration()) {
    server->unary_deadlines_ = std::make_unique<CallDeadlines>(options.unary_timeout);
  }
  interceptors.push_back(std::make_unique<CallCounterFactory>(connections, server->write_deadlines_.get(),
                                                              server->unary_deadlines_.get(), options.metrics));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  builder.RegisterService(oracle);
  builder.RegisterService(health);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    return MakeError(absl::StatusCode::kInternal, "SERVER_NOT_BUILT", "", "gRPC made no server; its log says why");
  }
  server->acceptor_ = std::make_unique<ConnectionAcceptor>(
      std::move(sockets), connections, options.metrics, [acceptor = server->grpc_acceptor_.get()](int socket) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
        parameters.fd = socket;
        acceptor->HandleNewConnection(&parameters);
      });
  return server;
}

GrpcServer::~GrpcServer() { Shutdown(absl::Now()); }

std::shared_ptr<grpc::Channel> GrpcServer::InProcessChannel(const grpc::ChannelArguments& arguments) {
  return server_->InProcessChannel(arguments);
}

bool GrpcServer::Shutdown(absl::Time deadline) {
  if (shut_down_ || server_ == nullptr) return true;
  shut_down_ = true;
  // First: gRPC does not close a socket that it is handed after its shutdown began.
  if (acceptor_ != nullptr) acceptor_->StopAccepting();
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
  const int64_t largest_request =
      std::min<int64_t>(16 * options.dimension + (int64_t{64} << 10), std::numeric_limits<int>::max());
  builder.SetMaxReceiveMessageSize(static_cast<int>(largest_request));
  builder.SetMaxSendMessageSize(-1);  // a single gradient may be large
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  builder.AddChannelArgument("grpc.server_handshake_timeout_ms", 5'000);
  const auto milliseconds = [](absl::Duration duration) {
    return static_cast<int>(absl::ToInt64Milliseconds(duration));
  };
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(options.keepalive_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(options.keepalive_timeout));
  // Also connections without calls, and however long they have none: otherwise a machine that is gone keeps its places
  // until they are closed as idle.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  // Connections are renewed, so that load moves to new servers; streams that are cut by it resume.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, milliseconds(options.connection_idle));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, milliseconds(options.connection_age));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, milliseconds(options.connection_age_grace));
  grpc::ResourceQuota quota("gradoracle");
  quota.Resize(options.memory_quota_bytes);
  // Of synchronous services, which is reflection: each of its streams holds a thread for as long as its caller likes.
  quota.SetMaxThreads(options.max_synchronous_threads);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);  // otherwise the cores, each with threads of its own
  builder.SetResourceQuota(quota);
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
}

}  // namespace
}  // namespace gradoracle
