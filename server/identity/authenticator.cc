#include "server/identity/authenticator.h"

#include <optional>

#include "core/errors.h"
#include "core/status_macros.h"
#include "server/identity/principal.h"
#include "server/identity/token.h"

namespace gradoracle {
namespace {

absl::Status Refused(absl::string_view reason, absl::string_view field, absl::string_view message) {
  return MakeError(absl::StatusCode::kUnauthenticated, reason, field, message);
}

absl::StatusOr<std::string> PrincipalOfToken(const CallerCredentials& caller, const TokenTable& tokens);
absl::StatusOr<std::string> PrincipalOfCertificate(const CallerCredentials& caller);

}  // namespace

absl::StatusOr<std::string> Authenticator::Identify(const CallerCredentials& caller) const {
  if (kind_ == AuthKind::kNone) return std::string(kAnonymous);
  const bool has_token = caller.authorization_count > 0;
  if (kind_ == AuthKind::kTokens && !has_token) {
    return Refused("TOKEN_MISSING", "token",
                   "this oracle answers only callers with a token (gradoracle --token-file FILE, or "
                   "GRADORACLE_TOKEN_FILE); its owner hands them out");
  }
  if (kind_ == AuthKind::kCertificates && !caller.has_certificate) {
    return Refused("CERTIFICATE_MISSING", "tls_cert",
                   "this oracle answers only callers with a client certificate (gradoracle --tls-cert FILE --tls-key "
                   "FILE)");
  }
  std::optional<std::string> of_certificate;
  if (caller.has_certificate) {
    GRADORACLE_ASSIGN_OR_RETURN(of_certificate, PrincipalOfCertificate(caller));
  }
  std::string principal;
  if (has_token) {
    GRADORACLE_ASSIGN_OR_RETURN(principal, PrincipalOfToken(caller, *tokens_));
    if (of_certificate.has_value() && *of_certificate != principal) {
      return Refused("IDENTITY_MISMATCH", "token",
                     "the token and the client certificate belong to different principals; use the two of one");
    }
  } else {
    principal = *std::move(of_certificate);
    GRADORACLE_RETURN_IF_ERROR(tokens_->CheckPrincipalInForce(principal));
  }
  return principal;
}

namespace {

// Two headers could be read differently by a proxy and by us: neither is taken.
absl::StatusOr<std::string> PrincipalOfToken(const CallerCredentials& caller, const TokenTable& tokens) {
  return tokens.Find(caller.authorization_count == 1 ? BearerToken(caller.authorization) : "");
}

absl::StatusOr<std::string> PrincipalOfCertificate(const CallerCredentials& caller) {
  if (CheckPrincipal(caller.certificate_name).ok()) return caller.certificate_name;
  return Refused("CERTIFICATE_NAME", "tls_cert",
                 "the client certificate names nobody: its first URI, DNS or e-mail subject alternative name must be 1 "
                 "to 256 printable characters without blanks");
}

}  // namespace
}  // namespace gradoracle
