#ifndef GRADORACLE_SERVER_OWNER_OWNER_ACCESS_H_
#define GRADORACLE_SERVER_OWNER_OWNER_ACCESS_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config/config.h"
#include "server/identity/authenticator.h"
#include "server/identity/token_table.h"
#include "server/ledger/ledger.h"
#include "server/owner/admin_server.h"
#include "server/owner/direct_owner_ledger.h"

namespace gradoracle {

// What a serving process knows of its callers, and how its owner changes that while it serves: the token table, the
// owner's socket beside a SQLite file, and the look every second at a PostgreSQL ledger, which the owner changes there.
class OwnerAccess {
 public:
  // `ledger` is the one at config.ledger and outlives the result. Errors: TokenTable::Reload's, AdminSocketPath's,
  // AdminServer::Start's.
  static absl::StatusOr<std::unique_ptr<OwnerAccess>> Open(const ServerConfig& config, Ledger* ledger);
  ~OwnerAccess();
  OwnerAccess(const OwnerAccess&) = delete;
  OwnerAccess& operator=(const OwnerAccess&) = delete;

  const Authenticator& authenticator() const { return authenticator_; }

  // Reads tokens and revocations again, for a SIGHUP say. Thread-safe. Errors: TokenTable::Reload's.
  absl::Status Reload() { return tokens_.Reload(); }

 private:
  OwnerAccess(AuthKind kind, Ledger* ledger);
  void KeepReloading();

  TokenTable tokens_;
  const Authenticator authenticator_;
  DirectOwnerLedger owner_ledger_;
  std::unique_ptr<AdminServer> admin_server_;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;  // guarded by mutex_
  std::thread reloader_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_OWNER_ACCESS_H_
