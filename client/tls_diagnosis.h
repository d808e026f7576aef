#ifndef GRADORACLE_CLIENT_TLS_DIAGNOSIS_H_
#define GRADORACLE_CLIENT_TLS_DIAGNOSIS_H_

#include <string>

#include "absl/time/time.h"
#include "client/oracle_client.h"

namespace gradoracle {

// Why a connection over TLS does not come about, for people, and what to do next; empty when this finds nothing wrong.
// gRPC only says that it failed. Connects to HOST:PORT once more, sends nothing beyond the handshake, and takes at most
// `timeout` (and the resolver's time).
std::string DiagnoseTls(const std::string& target, const OracleClientOptions& options, absl::Duration timeout);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_TLS_DIAGNOSIS_H_
