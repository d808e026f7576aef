#ifndef GRADORACLE_SERVER_LEDGER_POSTGRESQL_STORE_H_
#define GRADORACLE_SERVER_LEDGER_POSTGRESQL_STORE_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/ledger/ledger_store.h"

struct pg_conn;
struct pg_result;

namespace gradoracle {

// A ledger in a PostgreSQL database, which any number of servers share. Its tables are gradoracle_*, in the first
// schema of the search path.
//
// A transaction holds one advisory lock from beginning to end, so that the servers take turns, as they would at the row
// of the data set anyway, and can never wait for each other in a circle. Nothing is remembered here between
// transactions. A commit that gets no answer may have taken place: an error, like every other; so is one that
// PostgreSQL warns of, as it does when somebody ends its wait for a synchronous standby.
class PostgresqlStore final : public LedgerStore {
 public:
  // `url`: postgresql://..., without a password (server/config/ledger_location.h).
  explicit PostgresqlStore(const std::string& url);
  ~PostgresqlStore() override;

  // Errors: kUnavailable LEDGER_UNAVAILABLE (not reachable, no permission); kFailedPrecondition LEDGER_POSTGRESQL (a
  // standby or read-only, synchronous_commit or fsync off, not UTF-8), LEDGER_VERSION.
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
  class Rows;
  class Parameter;

  absl::Status CheckServer();
  absl::Status Migrate();
  // Runs a statement, which is prepared the first time; `sql` is a literal.
  absl::StatusOr<Rows> Run(const char* sql, std::initializer_list<Parameter> parameters);
  // Several statements at once, without parameters or rows.
  absl::Status Execute(const char* sql);
  // Waits for what was sent, no longer than a fixed time, and gives its last result.
  absl::StatusOr<Rows> Await();
  absl::Status Error(absl::string_view what) const;
  void Warn(absl::string_view message);

  const std::string url_;
  pg_conn* connection_ = nullptr;
  std::map<const char*, std::string> prepared_;  // names, by the literal that is their text
  std::string warning_;                          // of the statement under way
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_POSTGRESQL_STORE_H_
