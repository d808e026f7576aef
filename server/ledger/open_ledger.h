#ifndef GRADORACLE_SERVER_LEDGER_OPEN_LEDGER_H_
#define GRADORACLE_SERVER_LEDGER_OPEN_LEDGER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/ledger/ledger.h"
#include "server/operations/metrics.h"

namespace gradoracle {

struct LedgerOptions {
  // memory, sqlite:FILE or postgresql://...
  std::string location = "memory";
  // File of the audit log; empty: none is kept.
  std::string audit_log = {};
  // Label of the data served, remembered in the ledger. Empty: only the owner's operations will follow.
  std::string dataset_version = {};
  // Limit of principals that have no account when they first ask; unset: they are refused.
  std::optional<int64_t> default_limit = {};
  // A principal that gets an account without a limit instead ("anonymous", where nobody identifies himself); a
  // default_limit is stronger. Empty: nobody.
  std::string unlimited_principal = {};
  // Cap of the data set; unset: as it is stored.
  std::optional<int64_t> dataset_limit = {};
  // ChargeRules::curvature_floor and max_participation.
  std::optional<int64_t> curvature_floor = {};
  std::optional<int64_t> max_participation = {};
  // May be nullptr; else outlives the ledger.
  Metrics* metrics = nullptr;
  // Told whenever the ledger stops working or works again (Ledger::healthy), from one thread at a time. May be empty.
  std::function<void(bool works)> on_health = {};
};

// A ledger that works: its store is open, its epoch fresh. Errors: ParseLedgerLocation's; the store's;
// AuditLog::Open's; kDataLoss LEDGER_WENT_BACK.
absl::StatusOr<std::unique_ptr<Ledger>> OpenLedger(const LedgerOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_OPEN_LEDGER_H_
