#ifndef GRADORACLE_SERVER_LEDGER_MEMORY_STORE_H_
#define GRADORACLE_SERVER_LEDGER_MEMORY_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/ledger/ledger_store.h"

namespace gradoracle {

// A ledger that ends with the process: for loopback, and for tests. Keeps its rows over Close and Open.
class MemoryStore final : public LedgerStore {
 public:
  MemoryStore();

  absl::Status Open() override;
  void Close() override;
  absl::Status Begin() override;
  absl::Status Commit() override;
  absl::Status Rollback() override;

  absl::StatusOr<std::optional<Account>> FindAccount(absl::string_view principal) override;
  absl::StatusOr<std::vector<Account>> Accounts() override;
  absl::Status PutAccount(absl::string_view principal, std::optional<int64_t> limit, bool revoked) override;
  absl::StatusOr<std::optional<int64_t>> Spend(absl::string_view principal, int64_t cost) override;
  absl::StatusOr<std::optional<StoredRequest>> FindRequest(absl::string_view principal,
                                                           absl::string_view request_id) override;
  absl::Status PutRequest(absl::string_view principal, absl::string_view request_id,
                          const StoredRequest& request) override;
  absl::Status PruneRequests(int64_t keep) override;
  absl::StatusOr<bool> AddToken(const StoredToken& token) override;
  absl::StatusOr<bool> RevokeToken(absl::string_view id) override;
  absl::StatusOr<std::vector<StoredToken>> Tokens() override;
  absl::StatusOr<absl::Time> Clock() override;
  absl::Status SetClock(absl::Time time) override;
  absl::Status RecordDatasetVersion(absl::string_view version, absl::Time time) override;

 private:
  using RequestName = std::pair<std::string, std::string>;  // principal, request id
  struct NumberedRequest {
    StoredRequest request;
    int64_t number = 0;
  };

  std::map<std::string, Account> accounts_;
  std::map<RequestName, NumberedRequest> requests_;
  std::map<int64_t, RequestName> request_order_;  // by number: the oldest first
  int64_t next_number_ = 0;
  std::vector<StoredToken> tokens_;
  absl::Time clock_ = absl::InfinitePast();
  std::map<std::string, absl::Time> dataset_versions_;
  std::vector<std::function<void()>> undo_;  // of the open transaction, to be run from the back
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_MEMORY_STORE_H_
