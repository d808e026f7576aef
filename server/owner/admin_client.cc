#include "server/owner/admin_client.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "gradoracle/v1/admin.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "proto/status_conversion.h"
#include "server/owner/admin_messages.h"
#include "server/owner/admin_socket.h"

namespace gradoracle {
namespace {

constexpr absl::Duration kDeadline = absl::Seconds(10);

class RemoteOwnerLedger final : public OwnerLedger {
 public:
  explicit RemoteOwnerLedger(const std::string& socket_path)
      : socket_path_(socket_path),
        stub_(grpc::CreateChannel(SocketTarget(socket_path), grpc::InsecureChannelCredentials())) {}

  absl::Status AddToken(const StoredToken& token, const std::optional<Limit>& limit) override {
    v1::AddTokenRequest request;
    *request.mutable_token() = ToMessage(token);
    request.set_sha256(token.sha256);
    if (limit.has_value()) *request.mutable_limit() = ToMessage(*limit);
    v1::AddTokenResponse response;
    return Call(&v1::AdminService::Stub::AddToken, request, response);
  }
  absl::StatusOr<Holdings> List() override {
    v1::ListTokensResponse response;
    GRADORACLE_RETURN_IF_ERROR(Call(&v1::AdminService::Stub::ListTokens, v1::ListTokensRequest(), response));
    return FromMessage(response);
  }
  absl::Status RevokeToken(const std::string& id) override {
    v1::RevokeTokenRequest request;
    request.set_id(id);
    v1::RevokeTokenResponse response;
    return Call(&v1::AdminService::Stub::RevokeToken, request, response);
  }
  absl::Status RevokePrincipal(const std::string& principal) override {
    v1::RevokePrincipalRequest request;
    request.set_principal(principal);
    v1::RevokePrincipalResponse response;
    return Call(&v1::AdminService::Stub::RevokePrincipal, request, response);
  }
  absl::Status SetLimit(const std::string& principal, const Limit& limit) override {
    v1::SetLimitRequest request;
    request.set_principal(principal);
    *request.mutable_limit() = ToMessage(limit);
    v1::SetLimitResponse response;
    return Call(&v1::AdminService::Stub::SetLimit, request, response);
  }
  absl::Status SetDatasetLimit(const Limit& limit) override {
    v1::SetDatasetLimitRequest request;
    *request.mutable_limit() = ToMessage(limit);
    v1::SetDatasetLimitResponse response;
    return Call(&v1::AdminService::Stub::SetDatasetLimit, request, response);
  }

 private:
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kDeadline));
    const absl::Status status = FromGrpcStatus((stub_.*method)(&context, request, &response));
    if (status.ok() || ErrorReason(status).has_value()) return status;
    return MakeError(absl::StatusCode::kUnavailable, "ADMIN_SOCKET", "ledger",
                     absl::StrCat(socket_path_, ": the server there does not answer: ", status.message()));
  }

  const std::string socket_path_;
  v1::AdminService::Stub stub_;
};

}  // namespace

std::unique_ptr<OwnerLedger> ConnectOwnerLedger(const std::string& socket_path) {
  return std::make_unique<RemoteOwnerLedger>(socket_path);
}

}  // namespace gradoracle
