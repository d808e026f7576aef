#ifndef GRADORACLE_SERVER_LEDGER_POSTGRESQL_SCHEMA_H_
#define GRADORACLE_SERVER_LEDGER_POSTGRESQL_SCHEMA_H_

#include <array>

namespace gradoracle {

// As server/ledger/sqlite_schema.h, for PostgreSQL: migration i brings version i to i + 1.
inline constexpr std::array<const char*, 1> kPostgresqlMigrations = {R"sql(
CREATE TABLE gradoracle_schema (version integer NOT NULL);
INSERT INTO gradoracle_schema VALUES (0);

CREATE TABLE gradoracle_account (
  principal text PRIMARY KEY,             -- empty: the data set, whose spending is the sum of the others'
  budget bigint CHECK (budget >= 0),      -- gradients; NULL: unlimited
  spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
  revoked boolean NOT NULL DEFAULT false
);
CREATE FUNCTION gradoracle_guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION 'accounts are revoked, never deleted';
  END IF;
  IF NEW.spent < OLD.spent OR (NEW.spent > OLD.spent AND (NEW.spent > NEW.budget OR OLD.revoked)) THEN
    RAISE EXCEPTION 'spending only grows, and only within the limit';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER gradoracle_guard_account BEFORE UPDATE OR DELETE ON gradoracle_account
  FOR EACH ROW EXECUTE FUNCTION gradoracle_guard_account();
INSERT INTO gradoracle_account (principal) VALUES ('');

CREATE TABLE gradoracle_request (
  number bigint PRIMARY KEY,              -- in order of their beginning
  principal text NOT NULL,
  request_id text NOT NULL CHECK (request_id <> ''),
  digest bytea NOT NULL,                  -- SHA-256 of what decides the answer
  epoch text NOT NULL,                    -- of the process that began it
  charged bigint NOT NULL CHECK (charged > 0),
  UNIQUE (principal, request_id)
);

CREATE TABLE gradoracle_token (
  number bigserial PRIMARY KEY,
  id text NOT NULL UNIQUE,
  principal text NOT NULL,
  sha256 bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
  created bigint NOT NULL,                -- microseconds since 1970
  expires bigint,                         -- NULL: never
  revoked boolean NOT NULL DEFAULT false
);

CREATE TABLE gradoracle_clock (latest bigint NOT NULL);  -- microseconds since 1970, one row
INSERT INTO gradoracle_clock VALUES (0);

CREATE TABLE gradoracle_dataset_version (
  version text PRIMARY KEY,
  first_served bigint NOT NULL
);
)sql"};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_POSTGRESQL_SCHEMA_H_
