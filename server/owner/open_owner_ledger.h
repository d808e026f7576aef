#ifndef GRADORACLE_SERVER_OWNER_OPEN_OWNER_LEDGER_H_
#define GRADORACLE_SERVER_OWNER_OPEN_OWNER_LEDGER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/ledger/open_ledger.h"
#include "server/owner/owner_ledger.h"

namespace gradoracle {

// The ledger at options.location (--ledger), for its owner: a SQLite file through the process that serves from it, or
// directly when none does; PostgreSQL directly. Only what
// is opened directly uses the rest of the options. create: a SQLite file that does not exist is made. Errors:
// kInvalidArgument LEDGER_NOT_KEPT (memory: it lives and dies with a serving process); kNotFound LEDGER_NOT_FOUND;
// AdminSocketPath's, IsListening's, OpenLedger's.
absl::StatusOr<std::unique_ptr<OwnerLedger>> OpenOwnerLedger(const LedgerOptions& options, bool create);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_OPEN_OWNER_LEDGER_H_
