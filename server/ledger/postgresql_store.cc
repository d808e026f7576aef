#include "server/ledger/postgresql_store.h"

#include <libpq-fe.h>
#include <poll.h>

#include <cerrno>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/freer.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/ledger/postgresql_schema.h"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

// The server gives up on a statement first; this is for one that does not answer at all.
constexpr std::chrono::seconds kPatience(15);
constexpr char kSession[] =
    "SET statement_timeout = '10s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s';"
    "SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'";

int64_t ToMicros(absl::Time time);
absl::Status Unfit(absl::string_view message);

}  // namespace

// What a statement returned. Values are text, as PostgreSQL writes them.
class PostgresqlStore::Rows {
 public:
  explicit Rows(PGresult* result) : result_(result) {}

  ExecStatusType status() const { return PQresultStatus(result_.get()); }
  absl::string_view command() const { return PQcmdStatus(result_.get()); }
  int count() const { return PQntuples(result_.get()); }
  std::string Text(int row, int column) const {
    return std::string(PQgetvalue(result_.get(), row, column),
                       static_cast<size_t>(PQgetlength(result_.get(), row, column)));
  }
  bool Flag(int row, int column) const { return Text(row, column) == "t"; }
  // Of a bigint, which always fits.
  int64_t Integer(int row, int column) const {
    int64_t value = 0;
    static_cast<void>(absl::SimpleAtoi(Text(row, column), &value));
    return value;
  }
  std::optional<int64_t> OptionalInteger(int row, int column) const {
    if (PQgetisnull(result_.get(), row, column) != 0) return std::nullopt;
    return Integer(row, column);
  }
  std::string Bytes(int row, int column) const { return absl::HexStringToBytes(Text(row, column).substr(2)); }

 private:
  std::unique_ptr<PGresult, Freer<PQclear>> result_;
};

class PostgresqlStore::Parameter {
 public:
  Parameter(absl::string_view text) : text_(text) {}        // NOLINT(google-explicit-constructor)
  Parameter(int64_t value) : text_(absl::StrCat(value)) {}  // NOLINT(google-explicit-constructor)
  Parameter(bool value) : text_(value ? "t" : "f") {}       // NOLINT(google-explicit-constructor)
  Parameter(std::optional<int64_t> value) {                 // NOLINT(google-explicit-constructor)
    if (value.has_value()) text_ = absl::StrCat(*value);
  }
  static Parameter Bytes(absl::string_view bytes) {
    return Parameter(absl::StrCat("\\x", absl::BytesToHexString(bytes)));
  }

  const char* get() const { return text_.has_value() ? text_->c_str() : nullptr; }

 private:
  std::optional<std::string> text_;
};

PostgresqlStore::PostgresqlStore(const std::string& url) : url_(url) {}

PostgresqlStore::~PostgresqlStore() { Close(); }

absl::Status PostgresqlStore::Open() {
  Close();
  // Later keywords are stronger than the URL's.
  const char* const keywords[] = {
      "dbname", "application_name", "connect_timeout", "tcp_user_timeout", "target_session_attrs", "client_encoding",
      nullptr};
  const char* const values[] = {url_.c_str(), "gradoracle-server", "5", "15000", "read-write", "UTF8", nullptr};
  connection_ = PQconnectdbParams(keywords, values, /*expand_dbname=*/1);
  PQsetNoticeReceiver(
      connection_,
      [](void* self, const PGresult* notice) {
        static_cast<PostgresqlStore*>(self)->Warn(PQresultErrorMessage(notice));
      },
      this);
  absl::Status status = PQstatus(connection_) == CONNECTION_OK ? absl::OkStatus() : Error("cannot be reached");
  if (status.ok()) status = Execute(kSession);
  if (status.ok()) status = CheckServer();
  if (status.ok()) status = Migrate();
  if (!status.ok()) Close();
  return status;
}

void PostgresqlStore::Close() {
  PQfinish(connection_);
  connection_ = nullptr;
  prepared_.clear();
}

// The lock is the transaction's, and goes with it however that ends.
absl::Status PostgresqlStore::Begin() { return Execute("BEGIN; SELECT pg_advisory_xact_lock(x'67726164'::int, 1)"); }

absl::Status PostgresqlStore::Commit() {
  warning_.clear();
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows, Run("COMMIT", {}));
  if (!warning_.empty()) {
    return MakeError(absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "ledger",
                     absl::StrCat("the ledger in PostgreSQL may not have stored a transaction: ", warning_));
  }
  return rows.command() == "COMMIT" ? absl::OkStatus() : Error("rolled a transaction back");
}

absl::Status PostgresqlStore::Rollback() { return Execute("ROLLBACK"); }

absl::StatusOr<std::optional<Account>> PostgresqlStore::FindAccount(absl::string_view principal) {
  GRADORACLE_ASSIGN_OR_RETURN(
      const Rows rows, Run("SELECT budget, spent, revoked FROM gradoracle_account WHERE principal = $1", {principal}));
  if (rows.count() == 0) return std::nullopt;
  return Account{std::string(principal), rows.OptionalInteger(0, 0), rows.Integer(0, 1), rows.Flag(0, 2)};
}

absl::StatusOr<std::vector<Account>> PostgresqlStore::Accounts() {
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows, Run("SELECT principal, budget, spent, revoked FROM gradoracle_account"
                                                   " WHERE principal <> '' ORDER BY principal COLLATE \"C\"",
                                                   {}));
  std::vector<Account> accounts;
  for (int i = 0; i < rows.count(); ++i) {
    accounts.push_back({rows.Text(i, 0), rows.OptionalInteger(i, 1), rows.Integer(i, 2), rows.Flag(i, 3)});
  }
  return accounts;
}

absl::Status PostgresqlStore::PutAccount(absl::string_view principal, std::optional<int64_t> limit, bool revoked) {
  return Run("INSERT INTO gradoracle_account (principal, budget, revoked) VALUES ($1, $2, $3)"
             " ON CONFLICT (principal) DO UPDATE SET budget = excluded.budget, revoked = excluded.revoked",
             {principal, limit, revoked})
      .status();
}

// "limit - cost" cannot overflow, as "spent + cost" could.
absl::StatusOr<std::optional<int64_t>> PostgresqlStore::Spend(absl::string_view principal, int64_t cost) {
  if (cost < 0) return std::nullopt;
  GRADORACLE_ASSIGN_OR_RETURN(
      const Rows rows, Run("UPDATE gradoracle_account SET spent = spent + $2 WHERE principal = $1 AND NOT revoked"
                           " AND spent <= coalesce(budget, 9223372036854775807) - $2 RETURNING spent",
                           {principal, cost}));
  if (rows.count() == 0) return std::nullopt;
  return rows.Integer(0, 0);
}

absl::StatusOr<std::optional<StoredRequest>> PostgresqlStore::FindRequest(absl::string_view principal,
                                                                          absl::string_view request_id) {
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows, Run("SELECT digest, epoch, charged FROM gradoracle_request"
                                                   " WHERE principal = $1 AND request_id = $2",
                                                   {principal, request_id}));
  if (rows.count() == 0) return std::nullopt;
  return StoredRequest{rows.Bytes(0, 0), rows.Text(0, 1), rows.Integer(0, 2)};
}

// Numbers without gaps, which a sequence would not give: what is forgotten is counted by them.
absl::Status PostgresqlStore::PutRequest(absl::string_view principal, absl::string_view request_id,
                                         const StoredRequest& request) {
  return Run("INSERT INTO gradoracle_request (number, principal, request_id, digest, epoch, charged)"
             " VALUES ((SELECT coalesce(max(number), 0) + 1 FROM gradoracle_request), $1, $2, $3, $4, $5)"
             " ON CONFLICT (principal, request_id) DO UPDATE"
             " SET digest = excluded.digest, epoch = excluded.epoch, charged = excluded.charged",
             {principal, request_id, Parameter::Bytes(request.digest), absl::string_view(request.epoch),
              request.charged})
      .status();
}

absl::Status PostgresqlStore::PruneRequests(int64_t keep) {
  return Run("DELETE FROM gradoracle_request WHERE number <= (SELECT max(number) FROM gradoracle_request) - $1", {keep})
      .status();
}

absl::StatusOr<bool> PostgresqlStore::AddToken(const StoredToken& token) {
  const std::optional<int64_t> expires =
      token.expires == absl::InfiniteFuture() ? std::nullopt : std::optional<int64_t>(ToMicros(token.expires));
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows,
                              Run("INSERT INTO gradoracle_token (id, principal, sha256, created, expires, revoked)"
                                  " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING number",
                                  {absl::string_view(token.id), absl::string_view(token.principal),
                                   Parameter::Bytes(token.sha256), ToMicros(token.created), expires, token.revoked}));
  return rows.count() == 1;
}

absl::StatusOr<bool> PostgresqlStore::RevokeToken(absl::string_view id) {
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows,
                              Run("UPDATE gradoracle_token SET revoked = true WHERE id = $1 RETURNING number", {id}));
  return rows.count() == 1;
}

absl::StatusOr<std::vector<StoredToken>> PostgresqlStore::Tokens() {
  GRADORACLE_ASSIGN_OR_RETURN(
      const Rows rows,
      Run("SELECT id, principal, sha256, created, expires, revoked FROM gradoracle_token ORDER BY number", {}));
  std::vector<StoredToken> tokens;
  for (int i = 0; i < rows.count(); ++i) {
    const std::optional<int64_t> expires = rows.OptionalInteger(i, 4);
    tokens.push_back({rows.Text(i, 0), rows.Text(i, 1), rows.Bytes(i, 2), absl::FromUnixMicros(rows.Integer(i, 3)),
                      expires.has_value() ? absl::FromUnixMicros(*expires) : absl::InfiniteFuture(), rows.Flag(i, 5)});
  }
  return tokens;
}

absl::StatusOr<absl::Time> PostgresqlStore::Clock() {
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows, Run("SELECT latest FROM gradoracle_clock", {}));
  if (rows.count() != 1) return absl::DataLossError("the ledger in PostgreSQL has lost its clock");
  return absl::FromUnixMicros(rows.Integer(0, 0));
}

absl::Status PostgresqlStore::SetClock(absl::Time time) {
  return Run("UPDATE gradoracle_clock SET latest = greatest(latest, $1)", {ToMicros(time)}).status();
}

absl::Status PostgresqlStore::RecordDatasetVersion(absl::string_view version, absl::Time time) {
  return Run("INSERT INTO gradoracle_dataset_version (version, first_served) VALUES ($1, $2) ON CONFLICT DO NOTHING",
             {version, ToMicros(time)})
      .status();
}

absl::Status PostgresqlStore::CheckServer() {
  GRADORACLE_ASSIGN_OR_RETURN(const Rows rows,
                              Run("SELECT pg_is_in_recovery(), current_setting('transaction_read_only'),"
                                  " current_setting('synchronous_commit'), current_setting('fsync'),"
                                  " current_setting('server_encoding')",
                                  {}));
  if (rows.Flag(0, 0) || rows.Text(0, 1) != "off") return Unfit("it is a standby, or read-only");
  if (rows.Text(0, 2) != "on" && rows.Text(0, 2) != "remote_apply") {
    return Unfit(
        absl::StrCat("synchronous_commit is ", rows.Text(0, 2), ", must be on: a charge must survive a crash"));
  }
  if (rows.Text(0, 3) != "on") return Unfit("fsync is off, must be on: a charge must survive a crash");
  if (rows.Text(0, 4) != "UTF8") return Unfit(absl::StrCat("its encoding is ", rows.Text(0, 4), ", must be UTF8"));
  return absl::OkStatus();
}

absl::Status PostgresqlStore::Migrate() {
  GRADORACLE_RETURN_IF_ERROR(Begin());
  GRADORACLE_ASSIGN_OR_RETURN(const Rows known, Run("SELECT to_regclass('gradoracle_schema') IS NOT NULL", {}));
  int64_t version = 0;
  if (known.Flag(0, 0)) {
    GRADORACLE_ASSIGN_OR_RETURN(const Rows rows, Run("SELECT version FROM gradoracle_schema", {}));
    version = rows.count() == 1 ? rows.Integer(0, 0) : -1;
  }
  constexpr auto kNewest = static_cast<int64_t>(kPostgresqlMigrations.size());
  if (version < 0 || version > kNewest) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LEDGER_VERSION", "ledger",
                     absl::StrCat("the ledger in PostgreSQL is of version ", version,
                                  ", made by a later gradoracle; this one knows ", kNewest));
  }
  if (version == kNewest) return Rollback();
  for (int64_t i = version; i < kNewest; ++i) {
    GRADORACLE_RETURN_IF_ERROR(Execute(kPostgresqlMigrations[static_cast<size_t>(i)]));
  }
  GRADORACLE_RETURN_IF_ERROR(Run("UPDATE gradoracle_schema SET version = $1", {kNewest}).status());
  return Commit();
}

absl::StatusOr<PostgresqlStore::Rows> PostgresqlStore::Run(const char* sql,
                                                           std::initializer_list<Parameter> parameters) {
  std::string& name = prepared_[sql];
  if (name.empty()) {
    name = absl::StrCat("s", prepared_.size());
    if (PQsendPrepare(connection_, name.c_str(), sql, 0, nullptr) == 0) return Error("does not work");
    GRADORACLE_RETURN_IF_ERROR(Await().status());
  }
  std::vector<const char*> values;
  for (const Parameter& parameter : parameters) values.push_back(parameter.get());
  if (PQsendQueryPrepared(connection_, name.c_str(), static_cast<int>(values.size()), values.data(), nullptr, nullptr,
                          0) == 0) {
    return Error("does not work");
  }
  return Await();
}

absl::Status PostgresqlStore::Execute(const char* sql) {
  if (PQsendQuery(connection_, sql) == 0) return Error("does not work");
  return Await().status();
}

absl::StatusOr<PostgresqlStore::Rows> PostgresqlStore::Await() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  Rows last(nullptr);
  bool failed = false;
  while (true) {
    while (PQflush(connection_) == 1 || PQisBusy(connection_) == 1) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      pollfd waiting = {PQsocket(connection_), POLLIN, 0};
      if (PQflush(connection_) == 1) waiting.events |= POLLOUT;
      const int ready = left > 0 ? poll(&waiting, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) return absl::UnavailableError("the ledger in PostgreSQL does not answer");
      if (PQconsumeInput(connection_) == 0) return Error("does not work");
    }
    PGresult* const result = PQgetResult(connection_);
    if (result == nullptr) break;
    last = Rows(result);
    failed = failed || (last.status() != PGRES_COMMAND_OK && last.status() != PGRES_TUPLES_OK);
  }
  if (failed) return Error("refuses");
  return last;
}

// PostgreSQL's messages name hosts, users and databases; never a password.
absl::Status PostgresqlStore::Error(absl::string_view what) const {
  return MakeError(
      absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "ledger",
      absl::StrCat("the ledger in PostgreSQL ", what, ": ", absl::StripAsciiWhitespace(PQerrorMessage(connection_))));
}

void PostgresqlStore::Warn(absl::string_view message) {
  warning_ = std::string(absl::StripAsciiWhitespace(message));
  Log(LogLevel::kWarning, "PostgreSQL warns", {{"warning", warning_}});
}

namespace {

int64_t ToMicros(absl::Time time) {
  if (time == absl::InfiniteFuture()) return std::numeric_limits<int64_t>::max();
  return absl::ToUnixMicros(time);
}

absl::Status Unfit(absl::string_view message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "LEDGER_POSTGRESQL", "ledger",
                   absl::StrCat("the PostgreSQL of --ledger cannot keep a ledger: ", message));
}

}  // namespace
}  // namespace gradoracle
