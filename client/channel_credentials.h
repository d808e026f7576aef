#ifndef GRADORACLE_CLIENT_CHANNEL_CREDENTIALS_H_
#define GRADORACLE_CLIENT_CHANNEL_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/oracle_client.h"
#include "grpcpp/grpcpp.h"

// What a client shows, and to whom. Not installed.
namespace gradoracle {

bool UsesTls(const OracleClientOptions& options);

// Whether `target`, HOST:PORT, is this very machine: 127.0.0.0/8, [::1] or localhost.
bool IsLoopbackTarget(absl::string_view target);

// TLS 1.2 and up with what the options name, or plaintext.
// Errors name the field and the file: kInvalidArgument TLS_OPTIONS (one of tls_cert and tls_key without the other);
// kNotFound FILE_UNREADABLE.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const OracleClientOptions& options);

// The `authorization` header for `target`; empty without a token_file. A token never crosses a network in plaintext
// unless options.insecure.
// Errors: kNotFound FILE_UNREADABLE; kInvalidArgument TOKEN_FILE_INVALID (not one printable word); kInvalidArgument
// TOKEN_IN_PLAINTEXT. None repeats the token.
absl::StatusOr<std::string> Authorization(const std::string& target, const OracleClientOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CHANNEL_CREDENTIALS_H_
