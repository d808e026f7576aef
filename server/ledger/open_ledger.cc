#include "server/ledger/open_ledger.h"

#include <utility>

#include "core/random_stream.h"
#include "core/status_macros.h"
#include "server/config/ledger_location.h"
#include "server/ledger/group_commit_ledger.h"
#include "server/ledger/memory_store.h"
#include "server/ledger/postgresql_store.h"
#include "server/ledger/sqlite_store.h"

namespace gradoracle {
namespace {

std::unique_ptr<LedgerStore> MakeStore(const LedgerLocation& location, Metrics* metrics) {
  if (location.kind == LedgerKind::kMemory) return std::make_unique<MemoryStore>();
  if (location.kind == LedgerKind::kPostgresql) return std::make_unique<PostgresqlStore>(location.address);
  if (metrics != nullptr) {
    metrics->AddGauge("gradoracle_ledger_free_bytes", "Space left on the file system of the ledger.",
                      [path = location.address] { return FreeBytesBeside(path); });
  }
  return std::make_unique<SqliteStore>(location.address);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ledger>> OpenLedger(const LedgerOptions& options) {
  GRADORACLE_ASSIGN_OR_RETURN(const LedgerLocation location, ParseLedgerLocation(options.location));
  GroupCommitOptions group;
  GRADORACLE_ASSIGN_OR_RETURN(group.rules.epoch, RandomIdentifier());
  group.rules.unlimited_principal = options.unlimited_principal;
  group.rules.default_limit = options.default_limit;
  group.rules.curvature_floor = options.curvature_floor;
  group.rules.max_participation = options.max_participation;
  group.dataset_version = options.dataset_version;
  group.metrics = options.metrics;
  group.on_health = options.on_health;
  std::unique_ptr<AuditLog> audit_log;
  if (!options.audit_log.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(audit_log, AuditLog::Open(options.audit_log));
  }
  GRADORACLE_ASSIGN_OR_RETURN(
      std::unique_ptr<Ledger> ledger,
      GroupCommitLedger::Start(MakeStore(location, options.metrics), std::move(audit_log), group));
  if (options.dataset_limit.has_value()) {
    GRADORACLE_RETURN_IF_ERROR(ledger->SetDatasetLimit(options.dataset_limit));
  }
  return ledger;
}

}  // namespace gradoracle
