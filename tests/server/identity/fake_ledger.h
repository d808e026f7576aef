#ifndef GRADORACLE_TESTS_SERVER_IDENTITY_FAKE_LEDGER_H_
#define GRADORACLE_TESTS_SERVER_IDENTITY_FAKE_LEDGER_H_

#include <map>
#include <string>
#include <vector>

#include "core/errors.h"
#include "server/ledger/ledger.h"

namespace gradoracle {

// Accounts and tokens in maps, for one thread; counts what it is asked to charge and charges nothing.
class FakeLedger final : public Ledger {
 public:
  void Charge(const ChargeRequest&, Done done) override {
    ++charges;
    done(absl::OkStatus());
  }
  absl::Time Clock() override { return now; }
  absl::StatusOr<Account> FindAccount(absl::string_view principal) override {
    if (!failure.ok()) return failure;
    const auto found = accounts.find(std::string(principal));
    if (found == accounts.end()) return MakeError(absl::StatusCode::kNotFound, "NO_ACCOUNT", "", "no account");
    return found->second;
  }
  absl::StatusOr<std::vector<Account>> Accounts() override {
    if (!failure.ok()) return failure;
    std::vector<Account> all;
    for (const auto& [name, account] : accounts) all.push_back(account);
    return all;
  }
  absl::Status SetLimit(absl::string_view principal, std::optional<int64_t> limit) override {
    if (!failure.ok()) return failure;
    Account& account = accounts[std::string(principal)];
    account.principal = std::string(principal);
    account.limit = limit;
    account.revoked = false;
    return absl::OkStatus();
  }
  absl::Status Revoke(absl::string_view principal) override {
    if (!failure.ok()) return failure;
    accounts[std::string(principal)].revoked = true;
    return absl::OkStatus();
  }
  absl::Status SetDatasetLimit(std::optional<int64_t> limit) override {
    dataset.limit = limit;
    return failure;
  }
  absl::StatusOr<Account> DatasetAccount() override {
    if (!failure.ok()) return failure;
    return dataset;
  }
  absl::Status AddToken(const StoredToken& token) override {
    if (failure.ok()) tokens.push_back(token);
    return failure;
  }
  absl::Status RevokeToken(absl::string_view id) override {
    for (StoredToken& token : tokens) {
      if (token.id != id) continue;
      token.revoked = true;
      return absl::OkStatus();
    }
    return MakeError(absl::StatusCode::kNotFound, "TOKEN_NOT_FOUND", "token", "no such token");
  }
  absl::StatusOr<std::vector<StoredToken>> Tokens() override {
    if (!failure.ok()) return failure;
    return tokens;
  }
  bool healthy() const override { return failure.ok(); }

  absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  int charges = 0;
  absl::Status failure;  // of everything but Charge
  std::map<std::string, Account> accounts;
  Account dataset;
  std::vector<StoredToken> tokens;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_IDENTITY_FAKE_LEDGER_H_
