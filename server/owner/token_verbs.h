#ifndef GRADORACLE_SERVER_OWNER_TOKEN_VERBS_H_
#define GRADORACLE_SERVER_OWNER_TOKEN_VERBS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "server/config/token_command.h"
#include "server/ledger/open_ledger.h"
#include "server/owner/owner_ledger.h"

// `gradoracle-server token create | list | revoke | grant | cap`.
namespace gradoracle {

// What a verb did, for programs and for people. Never a token.
struct TokenResult {
  nlohmann::ordered_json json;
  std::string text;
};

// Runs a verb on the ledger at `place` (its location, and the audit log to be kept of it); `now` is when. `create`
// writes the token into a new file before the ledger knows it, and takes the file back when the ledger refuses. Errors:
// kInvalidArgument USAGE (a flag is missing, or does not go with the verb), LIMIT_INVALID, EXPIRES_INVALID;
// WriteTokenFile's, OpenOwnerLedger's, OwnerLedger's.
absl::StatusOr<TokenResult> RunTokenCommand(const TokenCommand& command, const LedgerOptions& place, absl::Time now);

// "unlimited", or a whole number of gradients from 0 to 2^53. Errors: kInvalidArgument LIMIT_INVALID.
absl::StatusOr<Limit> ParseLimit(absl::string_view text);

// A positive time of at most ten years: whole days ("30d"), or as absl::ParseDuration reads it ("12h", "90m").
// Errors: kInvalidArgument EXPIRES_INVALID.
absl::StatusOr<absl::Duration> ParseLifetime(absl::string_view text);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_TOKEN_VERBS_H_
