#ifndef GRADORACLE_SERVER_IDENTITY_TOKEN_TABLE_H_
#define GRADORACLE_SERVER_IDENTITY_TOKEN_TABLE_H_

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/ledger/ledger.h"

namespace gradoracle {

// What the serving process knows of tokens and of revoked principals: a copy of the ledger's, so that refusing a caller
// costs no I/O. Thread-safe.
class TokenTable {
 public:
  // Empty until Reload. `ledger` must outlive this.
  explicit TokenTable(Ledger* ledger);
  ~TokenTable();

  // Reads the ledger again: after the owner changed something there. On an error of the ledger the table stays what it
  // was; nothing can be charged then either.
  absl::Status Reload();

  // The principal of a token. What time it is says Ledger::Clock, which a clock set back does not deceive.
  // Errors, all kUnauthenticated, none repeating the token: TOKEN_UNKNOWN, TOKEN_REVOKED, TOKEN_EXPIRED;
  // kPermissionDenied ACCOUNT_REVOKED.
  absl::StatusOr<std::string> Find(absl::string_view token) const;

  // kPermissionDenied ACCOUNT_REVOKED when the owner has revoked `principal`; an unknown one is for the ledger to
  // refuse.
  absl::Status CheckPrincipalInForce(absl::string_view principal) const;

 private:
  struct Contents;

  std::shared_ptr<const Contents> contents() const;

  Ledger* const ledger_;
  std::mutex reloading_;  // one at a time, so that an older reading cannot replace a newer one
  mutable std::mutex mutex_;
  std::shared_ptr<const Contents> contents_;  // guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_TOKEN_TABLE_H_
