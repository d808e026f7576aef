#include "server/healthcheck.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_certificate_verifier.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "server/identity/tls_files.h"
#include "server/operations/listen_address.h"
#include "server/operations/port_file.h"
#include "server/service/oracle_service.h"

namespace gradoracle {
namespace {

absl::StatusOr<ListenAddress> AddressToProbe(const ServerConfig& config) {
  GRADORACLE_ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(config.listen));
  if (address.port == 0) {
    if (config.port_file.empty()) {
      return InvalidField("LISTEN_ADDRESS", "listen",
                          absl::StrCat("--listen ", config.listen,
                                       ": with port 0 the port is known from --port-file only, which is not given"));
    }
    GRADORACLE_ASSIGN_OR_RETURN(address, ReadPortFile(config.port_file));
  }
  return ProbeAddress(address);
}

// Whether it is the right server is not asked: this machine's own address was dialled, and nothing secret is sent. A
// server that wants client certificates is shown its own, so that --client-ca should vouch for that one too.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const ServerConfig& config) {
  if (config.tls_cert.empty()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  if (config.auth == "mtls") {
    GRADORACLE_ASSIGN_OR_RETURN(const TlsContents contents, ReadTlsFiles(TlsFilesOf(config), absl::Now()));
    options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
        std::vector<grpc::experimental::IdentityKeyCertPair>{{contents.key, contents.certificate}}));
    options.watch_identity_key_cert_pairs();
  }
  return grpc::experimental::TlsCredentials(options);
}

absl::Status Unhealthy(const std::string& address, absl::string_view why) {
  return MakeError(absl::StatusCode::kUnavailable, "NOT_SERVING", "", absl::StrCat(address, ": ", why));
}

}  // namespace

absl::Status Healthcheck(const ServerConfig& config, absl::Duration timeout) {
  GRADORACLE_ASSIGN_OR_RETURN(const ListenAddress listen, AddressToProbe(config));
  const std::string address = listen.ToString();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // http_proxy is for elsewhere, not for this very machine
  GRADORACLE_ASSIGN_OR_RETURN(const auto credentials, Credentials(config));
  const auto channel = grpc::CreateCustomChannel(address, credentials, arguments);
  const auto stub = grpc::health::v1::Health::NewStub(channel);

  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(OracleService::kName);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) return Unhealthy(address, status.error_message());
  if (response.status() != grpc::health::v1::HealthCheckResponse::SERVING) {
    return Unhealthy(address, grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status()));
  }
  return absl::OkStatus();
}

}  // namespace gradoracle
