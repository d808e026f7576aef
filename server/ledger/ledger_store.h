#ifndef GRADORACLE_SERVER_LEDGER_LEDGER_STORE_H_
#define GRADORACLE_SERVER_LEDGER_LEDGER_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/ledger/ledger.h"

namespace gradoracle {

// What is remembered of a named request.
struct StoredRequest {
  std::string digest;   // 32 raw bytes
  std::string epoch;    // of the process that began it: only its secret makes the same noise again
  int64_t charged = 0;  // gradients [0, charged) are paid for
};

// The rows of a ledger and their transactions; who may spend what is decided above it (charge_rules.h), once for all
// stores. Used by one thread. Between Begin and Commit the rows belong to this process alone, also where others share
// the database. After an error of any call nothing may be called but Close and then Open.
//
// The account with the empty principal is the data set's: its spending is the sum over all principals, and its limit
// the cap. It is there from the beginning, without a limit.
class LedgerStore {
 public:
  virtual ~LedgerStore() = default;

  // Opens the database, makes what is missing, brings an older form up to date and checks its integrity. Messages are
  // for the owner: they say what and where.
  virtual absl::Status Open() = 0;
  virtual void Close() = 0;  // also without Open, or after an error

  virtual absl::Status Begin() = 0;
  // Durable when it returns OK. After an error it is unknown whether the transaction took place.
  virtual absl::Status Commit() = 0;
  virtual absl::Status Rollback() = 0;

  // The rest within a transaction.
  virtual absl::StatusOr<std::optional<Account>> FindAccount(absl::string_view principal) = 0;
  virtual absl::StatusOr<std::vector<Account>> Accounts() = 0;  // in order of principals; without the data set's
  // Makes the account, or changes its limit and whether it is revoked; never its spending.
  virtual absl::Status PutAccount(absl::string_view principal, std::optional<int64_t> limit, bool revoked) = 0;
  // Adds `cost` >= 0 to what the account has spent, if it is there, not revoked, and its limit (2^63 - 1 where it has
  // none) allows; returns what it has spent then. nullopt: nothing was changed.
  virtual absl::StatusOr<std::optional<int64_t>> Spend(absl::string_view principal, int64_t cost) = 0;

  virtual absl::StatusOr<std::optional<StoredRequest>> FindRequest(absl::string_view principal,
                                                                   absl::string_view request_id) = 0;
  virtual absl::Status PutRequest(absl::string_view principal, absl::string_view request_id,
                                  const StoredRequest& request) = 0;
  // Forgets the oldest requests but `keep`.
  virtual absl::Status PruneRequests(int64_t keep) = 0;

  virtual absl::StatusOr<bool> AddToken(const StoredToken& token) = 0;  // false: id or hash is taken
  virtual absl::StatusOr<bool> RevokeToken(absl::string_view id) = 0;   // false: no such token
  virtual absl::StatusOr<std::vector<StoredToken>> Tokens() = 0;        // in order of creation
  virtual absl::StatusOr<absl::Time> Clock() = 0;                       // the latest time stored
  virtual absl::Status SetClock(absl::Time time) = 0;                   // keeps a later one; writes in any case
  // Remembers that `version` was served from `time` on; a known version keeps its time.
  virtual absl::Status RecordDatasetVersion(absl::string_view version, absl::Time time) = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_LEDGER_STORE_H_
