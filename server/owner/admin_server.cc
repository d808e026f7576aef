#include "server/owner/admin_server.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "gradoracle/v1/admin.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "proto/status_conversion.h"
#include "server/operations/log.h"
#include "server/owner/admin_messages.h"
#include "server/owner/admin_socket.h"

namespace gradoracle {

// Owners are few: calls are answered one thread each (gRPC's synchronous service), so that they may block.
class AdminServer::Service final : public v1::AdminService::Service {
 public:
  explicit Service(OwnerLedger* ledger) : ledger_(ledger) {}

  grpc::Status AddToken(grpc::ServerContext*, const v1::AddTokenRequest* request, v1::AddTokenResponse*) override {
    StoredToken token = FromMessage(request->token());
    token.sha256 = request->sha256();
    const std::optional<Limit> limit =
        request->has_limit() ? std::optional<Limit>(FromMessage(request->limit())) : std::nullopt;
    return Answer("a token was added", ledger_->AddToken(token, limit));
  }
  grpc::Status ListTokens(grpc::ServerContext*, const v1::ListTokensRequest*,
                          v1::ListTokensResponse* response) override {
    const absl::StatusOr<Holdings> holdings = ledger_->List();
    if (holdings.ok()) *response = ToMessage(*holdings);
    return ToGrpcStatus(holdings.status());
  }
  grpc::Status RevokeToken(grpc::ServerContext*, const v1::RevokeTokenRequest* request,
                           v1::RevokeTokenResponse*) override {
    return Answer("a token was revoked", ledger_->RevokeToken(request->id()));
  }
  grpc::Status RevokePrincipal(grpc::ServerContext*, const v1::RevokePrincipalRequest* request,
                               v1::RevokePrincipalResponse*) override {
    return Answer("a principal was revoked", ledger_->RevokePrincipal(request->principal()));
  }
  grpc::Status SetLimit(grpc::ServerContext*, const v1::SetLimitRequest* request, v1::SetLimitResponse*) override {
    if (!request->has_limit()) return ToGrpcStatus(MissingLimit());
    return Answer("a limit was set", ledger_->SetLimit(request->principal(), FromMessage(request->limit())));
  }
  grpc::Status SetDatasetLimit(grpc::ServerContext*, const v1::SetDatasetLimitRequest* request,
                               v1::SetDatasetLimitResponse*) override {
    if (!request->has_limit()) return ToGrpcStatus(MissingLimit());
    return Answer("the limit of the data set was set", ledger_->SetDatasetLimit(FromMessage(request->limit())));
  }

 private:
  // An absent limit must not read as "unlimited".
  static absl::Status MissingLimit() { return InvalidField("LIMIT_INVALID", "limit", "limit is missing"); }

  // Whatever the owner did stands in the log; who it concerned in the ledger.
  static grpc::Status Answer(absl::string_view done, const absl::Status& status) {
    if (status.ok()) Log(LogLevel::kInfo, absl::StrCat("through the owner's socket: ", done));
    return ToGrpcStatus(status);
  }

  OwnerLedger* const ledger_;
};

struct AdminServer::Listener {
  std::unique_ptr<grpc::Server> server;
};

AdminServer::AdminServer() = default;

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& socket_path, OwnerLedger* ledger) {
  GRADORACLE_RETURN_IF_ERROR(MakeAdminFolder(socket_path));
  auto result = std::unique_ptr<AdminServer>(new AdminServer);
  result->socket_path_ = socket_path;
  result->service_ = std::make_unique<Service>(ledger);
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort(SocketTarget(socket_path), grpc::InsecureServerCredentials(), &bound);
  builder.RegisterService(result->service_.get());
  result->listener_ = std::make_unique<Listener>();
  result->listener_->server = builder.BuildAndStart();
  if (result->listener_->server == nullptr || bound == 0) {
    return MakeError(absl::StatusCode::kUnavailable, "ADMIN_SOCKET", "ledger",
                     absl::StrCat(socket_path, ": the owner's socket cannot be opened"));
  }
  return result;
}

AdminServer::~AdminServer() {
  if (listener_ == nullptr || listener_->server == nullptr) return;
  listener_->server->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
  listener_->server->Wait();
  RemoveAdminFolder(socket_path_);
}

}  // namespace gradoracle
