#ifndef GRADORACLE_SERVER_LEDGER_SQLITE_SCHEMA_H_
#define GRADORACLE_SERVER_LEDGER_SQLITE_SCHEMA_H_

#include <array>

namespace gradoracle {

// In the header of the file: what `file` and later versions of gradoracle know a ledger by ("grad").
inline constexpr int kSqliteApplicationId = 0x67726164;

// Migration i brings a file of user_version i to i + 1; what has been released is never changed. No migration touches
// what has been spent. The rules stand in the schema as well, so that no other program can break them by accident:
// spending only grows, never past the limit, and accounts are never deleted (a tombstone keeps its spending).
inline constexpr std::array<const char*, 1> kSqliteMigrations = {R"sql(
CREATE TABLE account (
  principal TEXT PRIMARY KEY NOT NULL,  -- empty: the data set, whose spending is the sum of the others'
  budget INTEGER CHECK (budget >= 0),   -- gradients; NULL: unlimited
  spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
  revoked INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
) STRICT;
CREATE TRIGGER account_spending BEFORE UPDATE OF spent ON account
WHEN NEW.spent < OLD.spent OR (NEW.spent > OLD.spent AND (NEW.spent > NEW.budget OR OLD.revoked))
BEGIN SELECT RAISE(ABORT, 'spending only grows, and only within the limit'); END;
CREATE TRIGGER account_stays BEFORE DELETE ON account
BEGIN SELECT RAISE(ABORT, 'accounts are revoked, never deleted'); END;
INSERT INTO account (principal) VALUES ('');

CREATE TABLE request (
  number INTEGER PRIMARY KEY,           -- in order of their beginning
  principal TEXT NOT NULL,
  request_id TEXT NOT NULL CHECK (request_id <> ''),
  digest BLOB NOT NULL,                 -- SHA-256 of what decides the answer
  epoch TEXT NOT NULL,                  -- of the process that began it
  charged INTEGER NOT NULL CHECK (charged > 0),
  UNIQUE (principal, request_id)
) STRICT;

CREATE TABLE token (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  principal TEXT NOT NULL,
  sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
  created INTEGER NOT NULL,             -- microseconds since 1970
  expires INTEGER,                      -- NULL: never
  revoked INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
) STRICT;

CREATE TABLE clock (latest INTEGER NOT NULL) STRICT;  -- microseconds since 1970, one row
INSERT INTO clock VALUES (0);

CREATE TABLE dataset_version (
  version TEXT PRIMARY KEY NOT NULL,
  first_served INTEGER NOT NULL
) STRICT;
)sql"};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_SQLITE_SCHEMA_H_
