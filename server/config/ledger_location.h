#ifndef GRADORACLE_SERVER_CONFIG_LEDGER_LOCATION_H_
#define GRADORACLE_SERVER_CONFIG_LEDGER_LOCATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradoracle {

enum class LedgerKind { kMemory, kSqlite, kPostgresql };

// What --ledger says.
struct LedgerLocation {
  LedgerKind kind = LedgerKind::kMemory;
  std::string address;  // the file of kSqlite; the whole URL of kPostgresql
};

// Reads memory, sqlite:FILE or postgresql://[USER@]HOST[:PORT]/DATABASE[?...]. A URL with a password is refused: it
// would show in the list of processes, in the environment, in configuration files and in logs.
// Errors, none of which repeats the text: kInvalidArgument CONFIG_VALUE, LEDGER_PASSWORD; field ledger.
absl::StatusOr<LedgerLocation> ParseLedgerLocation(absl::string_view text);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_LEDGER_LOCATION_H_
