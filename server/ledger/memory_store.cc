#include "server/ledger/memory_store.h"

#include <algorithm>
#include <limits>

namespace gradoracle {

MemoryStore::MemoryStore() { accounts_[""] = Account(); }

absl::Status MemoryStore::Open() { return absl::OkStatus(); }

void MemoryStore::Close() { Rollback().IgnoreError(); }

absl::Status MemoryStore::Begin() { return absl::OkStatus(); }

absl::Status MemoryStore::Commit() {
  undo_.clear();
  return absl::OkStatus();
}

absl::Status MemoryStore::Rollback() {
  for (; !undo_.empty(); undo_.pop_back()) undo_.back()();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Account>> MemoryStore::FindAccount(absl::string_view principal) {
  const auto found = accounts_.find(std::string(principal));
  if (found == accounts_.end()) return std::nullopt;
  return found->second;
}

absl::StatusOr<std::vector<Account>> MemoryStore::Accounts() {
  std::vector<Account> accounts;
  for (const auto& [principal, account] : accounts_) {
    if (!principal.empty()) accounts.push_back(account);
  }
  return accounts;
}

absl::Status MemoryStore::PutAccount(absl::string_view principal, std::optional<int64_t> limit, bool revoked) {
  const std::string name(principal);
  const auto [row, inserted] = accounts_.try_emplace(name);
  if (inserted) {
    undo_.push_back([this, name] { accounts_.erase(name); });
  } else {
    undo_.push_back([this, before = row->second] { accounts_[before.principal] = before; });
  }
  row->second.principal = name;
  row->second.limit = limit;
  row->second.revoked = revoked;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<int64_t>> MemoryStore::Spend(absl::string_view principal, int64_t cost) {
  const auto row = accounts_.find(std::string(principal));
  if (row == accounts_.end() || row->second.revoked || cost < 0) return std::nullopt;
  Account& account = row->second;
  if (account.spent > account.limit.value_or(std::numeric_limits<int64_t>::max()) - cost) return std::nullopt;
  undo_.push_back([this, before = account] { accounts_[before.principal] = before; });
  account.spent += cost;
  return account.spent;
}

absl::StatusOr<std::optional<StoredRequest>> MemoryStore::FindRequest(absl::string_view principal,
                                                                      absl::string_view request_id) {
  const auto found = requests_.find({std::string(principal), std::string(request_id)});
  if (found == requests_.end()) return std::nullopt;
  return found->second.request;
}

absl::Status MemoryStore::PutRequest(absl::string_view principal, absl::string_view request_id,
                                     const StoredRequest& request) {
  const RequestName name = {std::string(principal), std::string(request_id)};
  const auto [row, inserted] = requests_.try_emplace(name);
  if (inserted) {
    row->second.number = next_number_++;
    request_order_[row->second.number] = name;
    undo_.push_back([this, name, number = row->second.number] {
      requests_.erase(name);
      request_order_.erase(number);
    });
  } else {
    undo_.push_back([this, name, before = row->second] { requests_[name] = before; });
  }
  row->second.request = request;
  return absl::OkStatus();
}

absl::Status MemoryStore::PruneRequests(int64_t keep) {
  while (static_cast<int64_t>(request_order_.size()) > keep) {
    const auto oldest = request_order_.begin();
    const auto row = requests_.find(oldest->second);
    undo_.push_back([this, name = row->first, before = row->second] {
      requests_[name] = before;
      request_order_[before.number] = name;
    });
    requests_.erase(row);
    request_order_.erase(oldest);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> MemoryStore::AddToken(const StoredToken& token) {
  for (const StoredToken& known : tokens_) {
    if (known.id == token.id || known.sha256 == token.sha256) return false;
  }
  undo_.push_back([this] { tokens_.pop_back(); });
  tokens_.push_back(token);
  return true;
}

absl::StatusOr<bool> MemoryStore::RevokeToken(absl::string_view id) {
  const auto token =
      std::find_if(tokens_.begin(), tokens_.end(), [&](const StoredToken& known) { return known.id == id; });
  if (token == tokens_.end()) return false;
  undo_.push_back([this, index = token - tokens_.begin(), before = token->revoked] {
    tokens_[static_cast<size_t>(index)].revoked = before;
  });
  token->revoked = true;
  return true;
}

absl::StatusOr<std::vector<StoredToken>> MemoryStore::Tokens() { return tokens_; }

absl::StatusOr<absl::Time> MemoryStore::Clock() { return clock_; }

absl::Status MemoryStore::SetClock(absl::Time time) {
  undo_.push_back([this, before = clock_] { clock_ = before; });
  clock_ = std::max(clock_, time);
  return absl::OkStatus();
}

absl::Status MemoryStore::RecordDatasetVersion(absl::string_view version, absl::Time time) {
  const std::string name(version);
  if (dataset_versions_.try_emplace(name, time).second) {
    undo_.push_back([this, name] { dataset_versions_.erase(name); });
  }
  return absl::OkStatus();
}

}  // namespace gradoracle
