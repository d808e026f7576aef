#ifndef GRADORACLE_SERVER_OWNER_ADMIN_CLIENT_H_
#define GRADORACLE_SERVER_OWNER_ADMIN_CLIENT_H_

#include <memory>
#include <string>

#include "server/owner/owner_ledger.h"

namespace gradoracle {

// The owner's ledger in the process that serves, through its socket. Errors of that process arrive as they are;
// kUnavailable ADMIN_SOCKET when it does not answer within 10 s.
std::unique_ptr<OwnerLedger> ConnectOwnerLedger(const std::string& socket_path);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_ADMIN_CLIENT_H_
