#include "server/identity/token_table.h"

#include <openssl/crypto.h>

#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "server/identity/token.h"

namespace gradoracle {

// Looked up by the hash of what the caller sent. The time of the look-up depends on that hash alone, and nobody can
// choose tokens whose SHA-256 walks along a stored one; the final comparison is in constant time all the same.
struct TokenTable::Contents {
  std::unordered_map<std::string, StoredToken> tokens;  // by digest
  std::set<std::string, std::less<>> revoked;           // principals
};

namespace {

absl::Status Refused(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kUnauthenticated, reason, "token", message);
}

}  // namespace

TokenTable::TokenTable(Ledger* ledger) : ledger_(ledger), contents_(std::make_shared<const Contents>()) {}

TokenTable::~TokenTable() = default;

absl::Status TokenTable::Reload() {
  const std::lock_guard<std::mutex> reloading(reloading_);
  GRADORACLE_ASSIGN_OR_RETURN(std::vector<StoredToken> tokens, ledger_->Tokens());
  GRADORACLE_ASSIGN_OR_RETURN(std::vector<Account> accounts, ledger_->Accounts());
  auto contents = std::make_shared<Contents>();
  for (StoredToken& token : tokens) {
    std::string digest = token.sha256;
    contents->tokens.emplace(std::move(digest), std::move(token));
  }
  for (Account& account : accounts) {
    if (account.revoked) contents->revoked.insert(std::move(account.principal));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  contents_ = std::move(contents);
  return absl::OkStatus();
}

absl::StatusOr<std::string> TokenTable::Find(absl::string_view token) const {
  const std::shared_ptr<const Contents> now = contents();
  const std::string digest = TokenDigest(token);
  const auto found = now->tokens.find(digest);
  if (found == now->tokens.end() || found->second.sha256.size() != digest.size() ||
      CRYPTO_memcmp(found->second.sha256.data(), digest.data(), digest.size()) != 0) {
    return Refused("TOKEN_UNKNOWN", "the token is not one of this oracle's; ask its owner for one");
  }
  const StoredToken& stored = found->second;
  if (stored.revoked)
    return Refused("TOKEN_REVOKED", "the token was revoked; ask the owner of the oracle for a new one");
  if (ledger_->Clock() >= stored.expires) {
    return Refused("TOKEN_EXPIRED",
                   absl::StrCat("the token expired on ",
                                absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", stored.expires, absl::UTCTimeZone()),
                                "; ask the owner of the oracle for a new one"));
  }
  GRADORACLE_RETURN_IF_ERROR(CheckPrincipalInForce(stored.principal));
  return stored.principal;
}

absl::Status TokenTable::CheckPrincipalInForce(absl::string_view principal) const {
  if (!contents()->revoked.contains(principal)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, "ACCOUNT_REVOKED", "",
                   "the owner of the oracle has revoked this account");
}

std::shared_ptr<const TokenTable::Contents> TokenTable::contents() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return contents_;
}

}  // namespace gradoracle
