#ifndef GRADORACLE_SERVER_IDENTITY_SERVER_CREDENTIALS_H_
#define GRADORACLE_SERVER_IDENTITY_SERVER_CREDENTIALS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"
#include "server/identity/tls_files.h"

namespace gradoracle {

// TLS 1.2 and 1.3 with the certificates in `files`, read again whenever they change: every handshake looks whether they
// did, takes what passes ReadTlsFiles, and goes on with the former ones otherwise (a certificate replaced a moment
// before its key must not cut anybody off). Connections that exist keep what they began with.
// A caller's certificate, asked for when there is a client_ca, must be vouched for by it, and must be there at all when
// `require_client_certificate`; otherwise the handshake fails.
// (Not gRPC's FileWatcherCertificateProvider: 1.51 takes any change it sees, and refuses every connection while
// certificate and key do not fit.)
// Errors: those of ReadTlsFiles. Warnings are logged.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(const TlsFiles& files,
                                                                            bool require_client_certificate);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_SERVER_CREDENTIALS_H_
