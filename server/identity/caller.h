#ifndef GRADORACLE_SERVER_IDENTITY_CALLER_H_
#define GRADORACLE_SERVER_IDENTITY_CALLER_H_

#include <string>

#include "grpcpp/grpcpp.h"

namespace gradoracle {

// What a call says about who makes it. Nothing here is checked, but that a certificate was verified by TLS.
struct CallerCredentials {
  int authorization_count = 0;        // `authorization` headers of the call
  std::string authorization = {};     // the first of them
  bool has_certificate = false;       // a client certificate, verified against --client-ca
  std::string certificate_name = {};  // its first URI, else first DNS, else first e-mail SAN; empty when it has none
};

CallerCredentials CallerOf(const grpc::ServerContextBase& context);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_CALLER_H_
