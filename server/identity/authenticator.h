#ifndef GRADORACLE_SERVER_IDENTITY_AUTHENTICATOR_H_
#define GRADORACLE_SERVER_IDENTITY_AUTHENTICATOR_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/identity/caller.h"
#include "server/identity/token_table.h"

namespace gradoracle {

// --auth: what a caller must show. What is shown beyond that is checked too, and everything must name one principal.
enum class AuthKind {
  kNone,          // nothing; whatever is shown is ignored
  kTokens,        // a token
  kCertificates,  // a client certificate
};

// Turns what a call says about its caller into a principal. Thread-safe.
class Authenticator {
 public:
  // `tokens` must outlive this; nullptr for kNone only.
  Authenticator(AuthKind kind, const TokenTable* tokens) : kind_(kind), tokens_(tokens) {}

  // Errors: kUnauthenticated TOKEN_MISSING, TOKEN_UNKNOWN (also for a header of another form, or several),
  // TOKEN_REVOKED, TOKEN_EXPIRED, CERTIFICATE_MISSING, CERTIFICATE_NAME (a certificate without a name that can be a
  // principal's), IDENTITY_MISMATCH (token and certificate of two principals); kPermissionDenied ACCOUNT_REVOKED.
  absl::StatusOr<std::string> Identify(const CallerCredentials& caller) const;

 private:
  const AuthKind kind_;
  const TokenTable* const tokens_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_AUTHENTICATOR_H_
