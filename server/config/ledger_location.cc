#include "server/config/ledger_location.h"

#include <libpq-fe.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "core/errors.h"
#include "core/freer.h"

namespace gradoracle {
namespace {

constexpr absl::string_view kAllowed =
    "--ledger must be memory, sqlite:FILE or postgresql://[USER@]HOST[:PORT]/DATABASE";

// A password with a '/' ends up in the port and the database: libpq reads postgresql://USER:PASS/WORD@HOST as the port
// PASS of the host USER, and its errors repeat that.
bool MayHoldPassword(absl::string_view keyword, absl::string_view value) {
  if (keyword == "password" || keyword == "sslpassword") return true;
  if (keyword == "port") return value.find_first_not_of("0123456789,") != absl::string_view::npos;
  return (keyword == "host" || keyword == "dbname") && absl::StrContains(value, '@');
}

absl::StatusOr<LedgerLocation> ParsePostgresql(const std::string& url) {
  char* error = nullptr;
  const std::unique_ptr<PQconninfoOption, Freer<PQconninfoFree>> options(PQconninfoParse(url.c_str(), &error));
  PQfreemem(error);  // it repeats the URL
  if (options == nullptr) return InvalidField("CONFIG_VALUE", "ledger", kAllowed);
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val == nullptr || *option->val == '\0' || !MayHoldPassword(option->keyword, option->val)) continue;
    return InvalidField(
        "LEDGER_PASSWORD", "ledger",
        "--ledger: a password, or what looks like one, must not stand in the URL, where every user of this "
        "machine may read it; "
        "put it into a file that only the server can read and name that in PGPASSFILE (or use "
        "~/.pgpass, or a client certificate)");
  }
  return LedgerLocation{LedgerKind::kPostgresql, url};
}

}  // namespace

absl::StatusOr<LedgerLocation> ParseLedgerLocation(absl::string_view text) {
  if (text == "memory") return LedgerLocation{};
  if (absl::StartsWith(text, "postgresql://") || absl::StartsWith(text, "postgres://")) {
    return ParsePostgresql(std::string(text));
  }
  if (absl::ConsumePrefix(&text, "sqlite:") && !text.empty()) {
    return LedgerLocation{LedgerKind::kSqlite, std::string(text)};
  }
  return InvalidField("CONFIG_VALUE", "ledger", kAllowed);
}

}  // namespace gradoracle
