#include "server/identity/caller.h"

#include <grpc/grpc_security_constants.h>

#include <memory>
#include <vector>

namespace gradoracle {

CallerCredentials CallerOf(const grpc::ServerContextBase& context) {
  CallerCredentials caller;
  const auto [first, end] = context.client_metadata().equal_range("authorization");
  for (auto header = first; header != end; ++header) {
    if (caller.authorization_count++ == 0) caller.authorization.assign(header->second.data(), header->second.size());
  }
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  if (peer == nullptr) return caller;
  caller.has_certificate = !peer->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME).empty();
  if (!caller.has_certificate) return caller;
  for (const char* kind : {GRPC_PEER_URI_PROPERTY_NAME, GRPC_PEER_DNS_PROPERTY_NAME, GRPC_PEER_EMAIL_PROPERTY_NAME}) {
    const std::vector<grpc::string_ref> names = peer->FindPropertyValues(kind);
    if (names.empty()) continue;
    caller.certificate_name.assign(names.front().data(), names.front().size());
    break;
  }
  return caller;
}

}  // namespace gradoracle
