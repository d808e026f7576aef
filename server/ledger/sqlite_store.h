#ifndef GRADORACLE_SERVER_LEDGER_SQLITE_STORE_H_
#define GRADORACLE_SERVER_LEDGER_SQLITE_STORE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/ledger/ledger_store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace gradoracle {

// A ledger in one SQLite file, which belongs to one process at a time.
//
// WAL with synchronous=FULL: a commit returns when fdatasync has. One connection, in exclusive locking mode, is the
// only one to write and to checkpoint: the corruption of SQLite 3.7.0 to 3.51.2 on resetting a WAL needs two.
// Checkpoints are explicit, small, and an error of one counts as an error of the store, so that a log that can no
// longer be emptied is noticed at once; the main file grows in large steps ahead of need, and a ballast file beside it
// (FILE.ballast) is deleted when the disk is full, so that at least emptying the log goes on.
class SqliteStore final : public LedgerStore {
 public:
  explicit SqliteStore(const std::string& path);
  ~SqliteStore() override;

  // Errors: kUnavailable LEDGER_IN_USE (another process has the file), LEDGER_UNAVAILABLE (anything of the file
  // system); kFailedPrecondition LEDGER_FOREIGN (not a ledger), LEDGER_VERSION (of a later version of gradoracle);
  // kDataLoss LEDGER_CORRUPT.
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
  class Statement;

  absl::Status OpenFile();
  absl::Status Configure();
  absl::Status Migrate();
  absl::Status CheckIntegrity();
  absl::Status Execute(const char* sql);
  absl::StatusOr<int64_t> Number(const char* sql);  // of the first column of the first row
  absl::Status Checkpoint(int mode);
  absl::Status Error(absl::string_view doing);
  void KeepBallast();
  void DropBallast();

  const std::string path_;
  sqlite3* connection_ = nullptr;
  std::map<const char*, sqlite3_stmt*> statements_;  // by the literal that is their text
  int wal_pages_ = 0;                                // not checkpointed yet, as of the last commit
};

// Bytes free to this process on the file system of `path`; -1 when unknown.
double FreeBytesBeside(const std::string& path);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_SQLITE_STORE_H_
