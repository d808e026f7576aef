#ifndef GRADORACLE_SERVER_LEDGER_LEDGER_H_
#define GRADORACLE_SERVER_LEDGER_LEDGER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The durable record of what each principal has been charged, in gradients. Charged means: committed and synced, before
// any row of the batch is drawn. Nothing is ever given back.
namespace gradoracle {

// What the ledger knows of a principal.
struct Account {
  std::string principal;
  std::optional<int64_t> limit;  // in gradients, over all time; nullopt: unlimited
  int64_t spent = 0;             // 0 <= spent <= limit, but for a limit that was lowered later
  bool revoked = false;          // a tombstone: its spending stays, nothing more is charged
};

// A bearer token as it is stored: who it is for, never what it is.
struct StoredToken {
  std::string id;  // public name of the token, for `token list` and `token revoke`
  std::string principal;
  std::string sha256;  // of the token: 32 raw bytes
  absl::Time created;
  absl::Time expires = absl::InfiniteFuture();
  bool revoked = false;
};

// A piece of a request that is to be paid for: gradients [first, first + count).
struct ChargeRequest {
  std::string principal;
  std::string request_id;  // empty: unnamed, nothing of it is remembered
  std::string digest;      // QueryDigest: 32 raw bytes
  int64_t first = 0;       // >= 0
  int64_t count = 0;       // >= 1; first + count <= 2^53
  // The first piece of a call: whether the request may be begun, or resumed at `first`, is decided with it.
  bool begins = false;
  // With `begins`: gradients of the whole request. Unless the budget pays for all of a new one, its first piece is
  // refused too: a request beyond the budget draws nothing. 0: only the piece counts.
  int64_t total = 0;
  // With `begins`: how often the whole request may use any one row (core/defence/participation.h); counted for
  // the data set with the first piece of a new request, whether or not there is a cap at present.
  int64_t participations = 0;
};

// Thread-safe. Outlives everybody who charges.
class Ledger {
 public:
  using Done = std::function<void(const absl::Status&)>;

  virtual ~Ledger() = default;

  // Charges what of the piece has not been charged to the same named request before, and calls `done` once, from a
  // thread of the ledger, when that is durable (or refused). `done` must be quick; of the ledger it may call Charge,
  // Clock and healthy only: the others would wait for the thread that runs it.
  // Errors:
  //   kResourceExhausted  BUDGET_EXHAUSTED  limit, spent, requested, remaining in the message and as payload
  //                       (core/errors.h); the same for the cap of the data set, DATASET_BUDGET_EXHAUSTED;
  //                       CURVATURE_FLOOR and PARTICIPATION_EXHAUSTED, field count, where such limits are kept
  //   kPermissionDenied   NO_ACCOUNT, ACCOUNT_REVOKED
  //   kAlreadyExists      REQUEST_ID_REUSED (same id, other digest), REQUEST_LOST (begun by another process, whose
  //                       secret is gone, or resumed though never begun: charged, unanswered), field request_id
  //   kOutOfRange         FIRST_GRADIENT (begins beyond what the request has been charged for), field first_gradient
  //   kUnavailable        LEDGER_UNAVAILABLE (an error of the store: everything is refused until it works again)
  //   kInvalidArgument    LEDGER_CHARGE (a caller's mistake: a piece outside the ranges of ChargeRequest)
  virtual void Charge(const ChargeRequest& request, Done done) = 0;

  // The rest blocks until durable, or read after everything charged so far. Errors, beyond those named: kUnavailable
  // LEDGER_UNAVAILABLE.

  // Errors: kNotFound NO_ACCOUNT.
  virtual absl::StatusOr<Account> FindAccount(absl::string_view principal) = 0;
  virtual absl::StatusOr<std::vector<Account>> Accounts() = 0;
  // Makes the account or changes its limit; never its spending. Revives a revoked one only with its spending kept.
  // Errors: kInvalidArgument LEDGER_LIMIT (negative), LEDGER_PRINCIPAL (empty).
  virtual absl::Status SetLimit(absl::string_view principal, std::optional<int64_t> limit) = 0;
  // Errors: kNotFound NO_ACCOUNT.
  virtual absl::Status Revoke(absl::string_view principal) = 0;
  // Gradients that all principals together may spend on the data set, over all its versions; nullopt: no cap.
  virtual absl::Status SetDatasetLimit(std::optional<int64_t> limit) = 0;
  virtual absl::StatusOr<Account> DatasetAccount() = 0;  // principal: empty

  // Errors: kAlreadyExists TOKEN_EXISTS (its id or its hash).
  virtual absl::Status AddToken(const StoredToken& token) = 0;
  virtual absl::Status RevokeToken(absl::string_view id) = 0;  // errors: kNotFound TOKEN_NOT_FOUND
  virtual absl::StatusOr<std::vector<StoredToken>> Tokens() = 0;

  // The wall clock for comparisons with expiry times: never earlier than any time this ledger has been told before,
  // also before a restart. A clock set back revives nothing; one that ran ahead makes things expire early until it is
  // caught up with. Does not block.
  virtual absl::Time Clock() = 0;

  // Whether the next charge may succeed; false after an error of the store, until it works again.
  virtual bool healthy() const = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_LEDGER_H_
