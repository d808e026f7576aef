#include "server/ledger/sqlite_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "server/ledger/sqlite_schema.h"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

constexpr int kPageBytes = 4096;
// Pages in the log that are reason to empty it: 256 KiB.
constexpr int kCheckpointPages = 64;
constexpr int kGrowthBytes = 128 * 1024;
constexpr int64_t kBallastBytes = 128 * 1024;

absl::Status Unavailable(absl::string_view path, absl::string_view what, int error);
int64_t ToMicros(absl::Time time);

}  // namespace

// A prepared statement of the store, made once and reset when this ends.
class SqliteStore::Statement {
 public:
  // `sql` is a literal. Arguments are bound in order: texts, integers, std::nullopt.
  template <typename... Arguments>
  Statement(SqliteStore* store, const char* sql, const Arguments&... arguments) : store_(store) {
    sqlite3_stmt*& prepared = store->statements_[sql];
    if (prepared == nullptr) {
      result_ = sqlite3_prepare_v3(store->connection_, sql, -1, SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
    }
    statement_ = prepared;
    int index = 0;
    (Bind(++index, arguments), ...);
  }
  ~Statement() {
    if (statement_ == nullptr) return;  // a damaged file: it could not be prepared
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // True: a row can be read. False: no more.
  absl::StatusOr<bool> Step() {
    if (result_ == SQLITE_OK) result_ = sqlite3_step(statement_);
    if (result_ == SQLITE_DONE) return false;
    if (result_ != SQLITE_ROW) return store_->Error("write or read");
    result_ = SQLITE_OK;
    return true;
  }
  // For statements whose rows are of no interest.
  absl::Status Run() {
    while (true) {
      GRADORACLE_ASSIGN_OR_RETURN(const bool row, Step());
      if (!row) return absl::OkStatus();
    }
  }
  int64_t Integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::optional<int64_t> OptionalInteger(int column) const {
    if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
    return Integer(column);
  }
  std::string Text(int column) const {
    const void* bytes = sqlite3_column_blob(statement_, column);
    return std::string(static_cast<const char*>(bytes), static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
  }

 private:
  struct Blob {
    absl::string_view bytes;
  };
  friend class SqliteStore;

  void Keep(int result) {
    if (result_ == SQLITE_OK) result_ = result;
  }
  void Bind(int index, int64_t value) { Keep(sqlite3_bind_int64(statement_, index, value)); }
  void Bind(int index, bool value) { Bind(index, int64_t{value}); }
  void Bind(int index, const std::optional<int64_t>& value) {
    if (value.has_value()) Bind(index, *value);  // unbound parameters are NULL
  }
  void Bind(int index, absl::string_view text) {
    Keep(sqlite3_bind_text64(statement_, index, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  void Bind(int index, const Blob& blob) {
    Keep(sqlite3_bind_blob64(statement_, index, blob.bytes.data(), blob.bytes.size(), SQLITE_TRANSIENT));
  }

  SqliteStore* const store_;
  sqlite3_stmt* statement_ = nullptr;
  int result_ = SQLITE_OK;
};

SqliteStore::SqliteStore(const std::string& path) : path_(path) {}

SqliteStore::~SqliteStore() { Close(); }

absl::Status SqliteStore::Open() {
  Close();
  absl::Status status = OpenFile();
  if (status.ok()) status = Configure();
  if (status.ok()) status = Migrate();
  if (status.ok()) status = CheckIntegrity();
  // What an earlier process left in the log: emptied into the main file before anything is added. After a failed sync
  // the log may be less on the disk than it seems; this writes all of it anew.
  if (status.ok()) status = Checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
  if (!status.ok()) {
    Close();
    return status;
  }
  KeepBallast();
  return absl::OkStatus();
}

void SqliteStore::Close() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  statements_.clear();
  sqlite3_close_v2(connection_);
  connection_ = nullptr;
}

// Immediate: an exclusive connection meets nobody, and an error shows here rather than half-way.
absl::Status SqliteStore::Begin() { return Statement(this, "BEGIN IMMEDIATE").Run(); }

absl::Status SqliteStore::Commit() {
  GRADORACLE_RETURN_IF_ERROR(Statement(this, "COMMIT").Run());
  if (wal_pages_ < kCheckpointPages) return absl::OkStatus();
  return Checkpoint(SQLITE_CHECKPOINT_PASSIVE);
}

absl::Status SqliteStore::Rollback() { return Statement(this, "ROLLBACK").Run(); }

absl::StatusOr<std::optional<Account>> SqliteStore::FindAccount(absl::string_view principal) {
  Statement statement(this, "SELECT budget, spent, revoked FROM account WHERE principal = ?1", principal);
  GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return std::nullopt;
  return Account{std::string(principal), statement.OptionalInteger(0), statement.Integer(1), statement.Integer(2) != 0};
}

absl::StatusOr<std::vector<Account>> SqliteStore::Accounts() {
  Statement statement(this,
                      "SELECT principal, budget, spent, revoked FROM account WHERE principal <> '' ORDER BY principal");
  std::vector<Account> accounts;
  while (true) {
    GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return accounts;
    accounts.push_back(
        {statement.Text(0), statement.OptionalInteger(1), statement.Integer(2), statement.Integer(3) != 0});
  }
}

absl::Status SqliteStore::PutAccount(absl::string_view principal, std::optional<int64_t> limit, bool revoked) {
  return Statement(this,
                   "INSERT INTO account (principal, budget, revoked) VALUES (?1, ?2, ?3)"
                   " ON CONFLICT (principal) DO UPDATE SET budget = excluded.budget, revoked = excluded.revoked",
                   principal, limit, revoked)
      .Run();
}

// "limit - cost" cannot overflow, as "spent + cost" could.
absl::StatusOr<std::optional<int64_t>> SqliteStore::Spend(absl::string_view principal, int64_t cost) {
  if (cost < 0) return std::nullopt;
  Statement statement(this,
                      "UPDATE account SET spent = spent + ?2 WHERE principal = ?1 AND revoked = 0"
                      " AND spent <= coalesce(budget, 9223372036854775807) - ?2 RETURNING spent",
                      principal, cost);
  GRADORACLE_ASSIGN_OR_RETURN(const bool changed, statement.Step());
  if (!changed) return std::nullopt;
  const int64_t spent = statement.Integer(0);
  GRADORACLE_RETURN_IF_ERROR(statement.Run());
  return spent;
}

absl::StatusOr<std::optional<StoredRequest>> SqliteStore::FindRequest(absl::string_view principal,
                                                                      absl::string_view request_id) {
  Statement statement(this, "SELECT digest, epoch, charged FROM request WHERE principal = ?1 AND request_id = ?2",
                      principal, request_id);
  GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return std::nullopt;
  return StoredRequest{statement.Text(0), statement.Text(1), statement.Integer(2)};
}

absl::Status SqliteStore::PutRequest(absl::string_view principal, absl::string_view request_id,
                                     const StoredRequest& request) {
  return Statement(this,
                   "INSERT INTO request (principal, request_id, digest, epoch, charged) VALUES (?1, ?2, ?3, ?4, ?5)"
                   " ON CONFLICT (principal, request_id) DO UPDATE"
                   " SET digest = excluded.digest, epoch = excluded.epoch, charged = excluded.charged",
                   principal, request_id, Statement::Blob{request.digest}, absl::string_view(request.epoch),
                   request.charged)
      .Run();
}

absl::Status SqliteStore::PruneRequests(int64_t keep) {
  return Statement(this, "DELETE FROM request WHERE number <= (SELECT max(number) FROM request) - ?1", keep).Run();
}

absl::StatusOr<bool> SqliteStore::AddToken(const StoredToken& token) {
  const std::optional<int64_t> expires =
      token.expires == absl::InfiniteFuture() ? std::nullopt : std::optional<int64_t>(ToMicros(token.expires));
  Statement statement(this,
                      "INSERT INTO token (id, principal, sha256, created, expires, revoked)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING RETURNING number",
                      absl::string_view(token.id), absl::string_view(token.principal), Statement::Blob{token.sha256},
                      ToMicros(token.created), expires, token.revoked);
  GRADORACLE_ASSIGN_OR_RETURN(const bool added, statement.Step());
  if (added) GRADORACLE_RETURN_IF_ERROR(statement.Run());
  return added;
}

absl::StatusOr<bool> SqliteStore::RevokeToken(absl::string_view id) {
  Statement statement(this, "UPDATE token SET revoked = 1 WHERE id = ?1 RETURNING number", id);
  GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (found) GRADORACLE_RETURN_IF_ERROR(statement.Run());
  return found;
}

absl::StatusOr<std::vector<StoredToken>> SqliteStore::Tokens() {
  Statement statement(this, "SELECT id, principal, sha256, created, expires, revoked FROM token ORDER BY number");
  std::vector<StoredToken> tokens;
  while (true) {
    GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return tokens;
    const std::optional<int64_t> expires = statement.OptionalInteger(4);
    tokens.push_back(
        {statement.Text(0), statement.Text(1), statement.Text(2), absl::FromUnixMicros(statement.Integer(3)),
         expires.has_value() ? absl::FromUnixMicros(*expires) : absl::InfiniteFuture(), statement.Integer(5) != 0});
  }
}

absl::StatusOr<absl::Time> SqliteStore::Clock() {
  Statement statement(this, "SELECT latest FROM clock");
  GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return absl::DataLossError(absl::StrCat(path_, ": the ledger has lost its clock"));
  return absl::FromUnixMicros(statement.Integer(0));
}

absl::Status SqliteStore::SetClock(absl::Time time) {
  return Statement(this, "UPDATE clock SET latest = max(latest, ?1)", ToMicros(time)).Run();
}

absl::Status SqliteStore::RecordDatasetVersion(absl::string_view version, absl::Time time) {
  return Statement(this, "INSERT INTO dataset_version (version, first_served) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                   version, ToMicros(time))
      .Run();
}

// The file is made here, not by SQLite: readable by its owner only, and its directory entry synced.
absl::Status SqliteStore::OpenFile() {
  const int made = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (made < 0 && errno != EEXIST) return Unavailable(path_, "cannot be made", errno);
  if (made >= 0) {
    close(made);
    const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
    const int folder = open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = folder >= 0 && fsync(folder) == 0;
    const int error = errno;
    if (folder >= 0) close(folder);
    if (!synced) return Unavailable(path_, "its directory cannot be synced", error);
  }
  struct stat file = {};
  if (stat(path_.c_str(), &file) == 0 && (file.st_mode & 077) != 0) {
    Log(LogLevel::kWarning, "the ledger can be read by other users: chmod 600 is advised");
  }
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
  if (sqlite3_open_v2(std::filesystem::absolute(path_).c_str(), &connection_, kFlags, nullptr) != SQLITE_OK) {
    return Error("open");
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::Configure() {
  wal_pages_ = 0;
  sqlite3_wal_hook(
      connection_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SqliteStore*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  int growth = kGrowthBytes;
  sqlite3_file_control(connection_, "main", SQLITE_FCNTL_CHUNK_SIZE, &growth);
  GRADORACLE_RETURN_IF_ERROR(Execute("PRAGMA locking_mode = EXCLUSIVE"));  // before the log: then it needs no -shm
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t id, Number("PRAGMA application_id"));
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t tables, Number("SELECT count(*) FROM sqlite_schema"));
  if (id != kSqliteApplicationId && tables > 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LEDGER_FOREIGN", "ledger",
                     absl::StrCat(path_, ": a SQLite database, but not a ledger of gradoracle"));
  }
  if (tables == 0) GRADORACLE_RETURN_IF_ERROR(Execute(absl::StrCat("PRAGMA page_size = ", kPageBytes).c_str()));
  GRADORACLE_RETURN_IF_ERROR(Execute("PRAGMA journal_mode = WAL"));
  GRADORACLE_RETURN_IF_ERROR(Execute("PRAGMA synchronous = FULL"));
  GRADORACLE_RETURN_IF_ERROR(Execute("PRAGMA trusted_schema = OFF"));
  GRADORACLE_RETURN_IF_ERROR(
      Execute(absl::StrCat("PRAGMA journal_size_limit = ", 4 * kCheckpointPages * kPageBytes).c_str()));
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t synchronous, Number("PRAGMA synchronous"));
  if (synchronous != 2) return absl::InternalError(absl::StrCat(path_, ": SQLite does not sync as it must"));
  return absl::OkStatus();
}

absl::Status SqliteStore::Migrate() {
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t version, Number("PRAGMA user_version"));
  if (version < 0 || version > static_cast<int64_t>(kSqliteMigrations.size())) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LEDGER_VERSION", "ledger",
                     absl::StrCat(path_, ": a ledger of version ", version,
                                  ", made by a later gradoracle; this one knows ", kSqliteMigrations.size()));
  }
  if (version == static_cast<int64_t>(kSqliteMigrations.size())) return absl::OkStatus();
  GRADORACLE_RETURN_IF_ERROR(Begin());
  for (size_t i = static_cast<size_t>(version); i < kSqliteMigrations.size(); ++i) {
    GRADORACLE_RETURN_IF_ERROR(Execute(kSqliteMigrations[i]));
  }
  GRADORACLE_RETURN_IF_ERROR(Execute(absl::StrCat("PRAGMA application_id = ", kSqliteApplicationId,
                                                  "; PRAGMA user_version = ", kSqliteMigrations.size())
                                         .c_str()));
  return Commit();
}

absl::Status SqliteStore::CheckIntegrity() {
  Statement statement(this, "PRAGMA integrity_check(1)");
  GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (found && statement.Text(0) == "ok") return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, "LEDGER_CORRUPT", "ledger",
                   absl::StrCat(path_, ": the ledger is damaged: ", found ? statement.Text(0) : "nothing to be read"));
}

absl::Status SqliteStore::Execute(const char* sql) {
  if (sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return Error("set up");
}

absl::StatusOr<int64_t> SqliteStore::Number(const char* sql) {
  Statement statement(this, sql);
  GRADORACLE_ASSIGN_OR_RETURN(const bool found, statement.Step());
  return found ? statement.Integer(0) : 0;
}

absl::Status SqliteStore::Checkpoint(int mode) {
  int in_log = 0;
  int emptied = 0;
  const int result = sqlite3_wal_checkpoint_v2(connection_, nullptr, mode, &in_log, &emptied);
  if (result != SQLITE_OK) return Error("empty the log of");
  if (emptied < in_log) return absl::UnavailableError(absl::StrCat(path_, ": the log cannot be emptied"));
  wal_pages_ = 0;
  return absl::OkStatus();
}

// To be called right after what failed.
absl::Status SqliteStore::Error(absl::string_view doing) {
  const int result = sqlite3_extended_errcode(connection_);
  const int system_error = sqlite3_system_errno(connection_);
  std::string message = absl::StrCat(path_, ": cannot ", doing, " the ledger: ", sqlite3_errmsg(connection_));
  if ((result & 0xff) == SQLITE_IOERR && system_error != 0)
    absl::StrAppend(&message, " (", std::strerror(system_error), ")");
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return MakeError(absl::StatusCode::kUnavailable, "LEDGER_IN_USE", "ledger",
                       absl::StrCat(path_,
                                    ": another process has this ledger; one server owns the file. Stop it, or "
                                    "let servers share a ledger in PostgreSQL"));
    case SQLITE_CORRUPT:
      return MakeError(absl::StatusCode::kDataLoss, "LEDGER_CORRUPT", "ledger", message);
    case SQLITE_NOTADB:
      return MakeError(absl::StatusCode::kFailedPrecondition, "LEDGER_FOREIGN", "ledger",
                       absl::StrCat(path_, ": not a ledger of gradoracle, nor any SQLite database"));
    case SQLITE_FULL:
      DropBallast();
      break;
    default:
      break;
  }
  return MakeError(absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "ledger", message);
}

// Best effort: without ballast the ledger works, and a full disk is harder to leave.
void SqliteStore::KeepBallast() {
  const std::string ballast = path_ + ".ballast";
  struct stat file = {};
  if (stat(ballast.c_str(), &file) == 0 && file.st_size == kBallastBytes) return;
  if (FreeBytesBeside(path_) < 4 * kBallastBytes) return;  // not the last bytes of a disk that was just full
  const int made = open(ballast.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (made < 0) return;
  if (posix_fallocate(made, 0, kBallastBytes) != 0) unlink(ballast.c_str());
  close(made);
}

void SqliteStore::DropBallast() { unlink((path_ + ".ballast").c_str()); }

double FreeBytesBeside(const std::string& path) {
  struct statvfs system = {};
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (statvfs(parent.empty() ? "." : parent.c_str(), &system) != 0) return -1;
  return static_cast<double>(system.f_bavail) * static_cast<double>(system.f_frsize);
}

namespace {

absl::Status Unavailable(absl::string_view path, absl::string_view what, int error) {
  return MakeError(absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "ledger",
                   absl::StrCat(path, ": ", what, ": ", std::strerror(error)));
}

int64_t ToMicros(absl::Time time) {
  if (time == absl::InfiniteFuture()) return std::numeric_limits<int64_t>::max();
  return absl::ToUnixMicros(time);
}

}  // namespace
}  // namespace gradoracle
