#ifndef GRADORACLE_SERVER_OWNER_OWNER_LEDGER_H_
#define GRADORACLE_SERVER_OWNER_OWNER_LEDGER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/ledger/ledger.h"

namespace gradoracle {

// What somebody may spend, over all time.
struct Limit {
  std::optional<int64_t> gradients;  // >= 0; nullopt: unlimited
};

// Everything the owner's verbs show. sha256 of the tokens is left empty.
struct Holdings {
  std::vector<StoredToken> tokens;
  std::vector<Account> accounts;
  Account dataset;
};

// A ledger as its owner uses it, wherever it is: opened by this process, or by the one that serves. Every call blocks
// until what it says is durable and, where a process serves, in force there. Thread-safe.
class OwnerLedger {
 public:
  virtual ~OwnerLedger() = default;

  // Stores a token and sets the limit of its principal; without `limit` there must be an account in force.
  // Errors: kInvalidArgument PRINCIPAL_INVALID, LEDGER_LIMIT, TOKEN_HASH (sha256 is not 32 bytes); kNotFound
  // NO_ACCOUNT; kPermissionDenied ACCOUNT_REVOKED.
  virtual absl::Status AddToken(const StoredToken& token, const std::optional<Limit>& limit) = 0;
  virtual absl::StatusOr<Holdings> List() = 0;
  virtual absl::Status RevokeToken(const std::string& id) = 0;             // errors: kNotFound TOKEN_NOT_FOUND
  virtual absl::Status RevokePrincipal(const std::string& principal) = 0;  // errors: kNotFound NO_ACCOUNT
  // Makes the account, or changes it; revives a revoked one, its revoked tokens excepted.
  virtual absl::Status SetLimit(const std::string& principal, const Limit& limit) = 0;
  virtual absl::Status SetDatasetLimit(const Limit& limit) = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_OWNER_LEDGER_H_
