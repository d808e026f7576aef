#include "server/owner/direct_owner_ledger.h"

#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"
#include "server/identity/principal.h"

namespace gradoracle {

DirectOwnerLedger::DirectOwnerLedger(Ledger* ledger, std::function<absl::Status()> changed)
    : ledger_(ledger), changed_(std::move(changed)) {}

// The limit first: a token whose principal has no account would be let in and then refused.
absl::Status DirectOwnerLedger::AddToken(const StoredToken& token, const std::optional<Limit>& limit) {
  constexpr size_t kHashBytes = 32;
  GRADORACLE_RETURN_IF_ERROR(CheckPrincipal(token.principal));
  if (token.sha256.size() != kHashBytes) return InvalidField("TOKEN_HASH", "sha256", "sha256 must be 32 bytes");
  if (limit.has_value()) {
    GRADORACLE_RETURN_IF_ERROR(ledger_->SetLimit(token.principal, limit->gradients));
  } else {
    GRADORACLE_ASSIGN_OR_RETURN(const Account account, ledger_->FindAccount(token.principal));
    if (account.revoked) {
      return MakeError(absl::StatusCode::kPermissionDenied, "ACCOUNT_REVOKED", "principal",
                       "this principal was revoked; --limit M takes it back, with what it has spent");
    }
  }
  GRADORACLE_RETURN_IF_ERROR(ledger_->AddToken(token));
  return changed_();
}

absl::StatusOr<Holdings> DirectOwnerLedger::List() {
  Holdings holdings;
  GRADORACLE_ASSIGN_OR_RETURN(holdings.tokens, ledger_->Tokens());
  for (StoredToken& token : holdings.tokens) token.sha256.clear();
  GRADORACLE_ASSIGN_OR_RETURN(holdings.accounts, ledger_->Accounts());
  GRADORACLE_ASSIGN_OR_RETURN(holdings.dataset, ledger_->DatasetAccount());
  return holdings;
}

absl::Status DirectOwnerLedger::RevokeToken(const std::string& id) {
  GRADORACLE_RETURN_IF_ERROR(ledger_->RevokeToken(id));
  return changed_();
}

// The account first: from then on nothing is charged, whatever becomes of the rest.
absl::Status DirectOwnerLedger::RevokePrincipal(const std::string& principal) {
  GRADORACLE_RETURN_IF_ERROR(ledger_->Revoke(principal));
  GRADORACLE_ASSIGN_OR_RETURN(const std::vector<StoredToken> tokens, ledger_->Tokens());
  for (const StoredToken& token : tokens) {
    if (token.principal == principal && !token.revoked) GRADORACLE_RETURN_IF_ERROR(ledger_->RevokeToken(token.id));
  }
  return changed_();
}

absl::Status DirectOwnerLedger::SetLimit(const std::string& principal, const Limit& limit) {
  GRADORACLE_RETURN_IF_ERROR(CheckPrincipal(principal));
  GRADORACLE_RETURN_IF_ERROR(ledger_->SetLimit(principal, limit.gradients));
  return changed_();
}

absl::Status DirectOwnerLedger::SetDatasetLimit(const Limit& limit) {
  GRADORACLE_RETURN_IF_ERROR(ledger_->SetDatasetLimit(limit.gradients));
  return changed_();
}

}  // namespace gradoracle
