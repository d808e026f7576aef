#include "server/owner/token_verbs.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "server/identity/principal.h"
#include "server/identity/token.h"
#include "server/owner/open_owner_ledger.h"
#include "server/owner/token_file.h"

namespace gradoracle {
namespace {

using Json = nlohmann::ordered_json;

absl::Status CheckFlags(const TokenCommand& command);
absl::StatusOr<TokenResult> Create(const TokenCommand& command, const LedgerOptions& place, absl::Time now);
absl::StatusOr<TokenResult> List(const LedgerOptions& place, absl::Time now);
absl::StatusOr<TokenResult> Revoke(const TokenCommand& command, const LedgerOptions& place);
absl::StatusOr<TokenResult> Grant(const TokenCommand& command, const LedgerOptions& place);
absl::StatusOr<TokenResult> Cap(const TokenCommand& command, const LedgerOptions& place);

}  // namespace

absl::StatusOr<TokenResult> RunTokenCommand(const TokenCommand& command, const LedgerOptions& place, absl::Time now) {
  GRADORACLE_RETURN_IF_ERROR(CheckFlags(command));
  switch (command.verb) {
    case TokenCommand::Verb::kCreate:
      return Create(command, place, now);
    case TokenCommand::Verb::kList:
      return List(place, now);
    case TokenCommand::Verb::kRevoke:
      return Revoke(command, place);
    case TokenCommand::Verb::kGrant:
      return Grant(command, place);
    case TokenCommand::Verb::kCap:
      return Cap(command, place);
  }
  return absl::InternalError("unknown verb");
}

absl::StatusOr<Limit> ParseLimit(absl::string_view text) {
  constexpr int64_t kMost = int64_t{1} << 53;  // every such integer is exact in JSON
  if (text == "unlimited") return Limit();
  int64_t gradients = 0;
  if (absl::SimpleAtoi(text, &gradients) && gradients >= 0 && gradients <= kMost) return Limit{gradients};
  return InvalidField("LIMIT_INVALID", "limit",
                      absl::StrCat("--limit must be `unlimited` or a whole number of gradients from 0 to ", kMost,
                                   ", but is '", text, "'"));
}

absl::StatusOr<absl::Duration> ParseLifetime(absl::string_view text) {
  constexpr absl::Duration kMost = absl::Hours(24 * 3653);
  absl::Duration lifetime;
  int64_t days = 0;
  absl::string_view number = text;
  const bool whole_days =
      absl::ConsumeSuffix(&number, "d") && absl::SimpleAtoi(number, &days) && days > 0 && days <= 3653;
  if (whole_days) return absl::Hours(24) * days;
  if (absl::ParseDuration(text, &lifetime) && lifetime > absl::ZeroDuration() && lifetime <= kMost) return lifetime;
  return InvalidField(
      "EXPIRES_INVALID", "expires",
      absl::StrCat("--expires must be a time from now of at most ten years, such as 30d or 12h, but is '", text, "'"));
}

namespace {

absl::Status Needs(absl::string_view verb, absl::string_view field, absl::string_view flag) {
  return InvalidField("USAGE", field, absl::StrCat("token ", verb, " needs ", flag));
}

absl::Status CheckFlags(const TokenCommand& command) {
  switch (command.verb) {
    case TokenCommand::Verb::kCreate:
      if (command.principal.empty()) return Needs("create", "principal", "--principal P");
      if (command.out.empty()) return Needs("create", "out", "--out FILE, a new file for the token");
      return CheckPrincipal(command.principal);
    case TokenCommand::Verb::kRevoke:
      if (command.principal.empty() == command.token_id.empty()) {
        return Needs("revoke", "token", "either --token ID (of token list) or --principal P");
      }
      return absl::OkStatus();
    case TokenCommand::Verb::kGrant:
      if (command.principal.empty()) return Needs("grant", "principal", "--principal P");
      if (command.limit.empty()) return Needs("grant", "limit", "--limit M");
      return CheckPrincipal(command.principal);
    case TokenCommand::Verb::kCap:
      if (command.limit.empty()) return Needs("cap", "limit", "--limit M");
      return absl::OkStatus();
    case TokenCommand::Verb::kList:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

Json ToJson(const std::optional<int64_t>& number) { return number.has_value() ? Json(*number) : Json(nullptr); }
std::string InWords(const std::optional<int64_t>& limit) {
  return limit.has_value() ? absl::StrCat(*limit) : "unlimited";
}
std::optional<int64_t> Remaining(const Account& account) {
  if (!account.limit.has_value()) return std::nullopt;
  return std::max<int64_t>(0, *account.limit - account.spent);
}
std::string InWords(absl::Time time) {
  if (time == absl::InfiniteFuture()) return "never";
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}
Json ToJson(absl::Time time) {
  if (time == absl::InfiniteFuture()) return nullptr;
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", time, absl::UTCTimeZone());
}

absl::StatusOr<TokenResult> Create(const TokenCommand& command, const LedgerOptions& place, absl::Time now) {
  std::optional<Limit> limit;
  if (!command.limit.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(limit, ParseLimit(command.limit));
  }
  StoredToken stored;
  stored.principal = command.principal;
  stored.created = now;
  if (!command.expires.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(const absl::Duration lifetime, ParseLifetime(command.expires));
    stored.expires = now + lifetime;
  }
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<OwnerLedger> ledger, OpenOwnerLedger(place, /*create=*/true));
  GRADORACLE_ASSIGN_OR_RETURN(stored.id, GenerateTokenId());
  GRADORACLE_ASSIGN_OR_RETURN(const std::string token, GenerateToken());
  stored.sha256 = TokenDigest(token);
  GRADORACLE_RETURN_IF_ERROR(WriteTokenFile(command.out, token));
  absl::Status added = ledger->AddToken(stored, limit);
  if (!added.ok()) {
    unlink(command.out.c_str());
    if (ErrorReason(added) == "NO_ACCOUNT") {
      return MakeError(added.code(), "NO_ACCOUNT", "limit",
                       absl::StrCat("the ledger does not know '", command.principal,
                                    "' yet: give --limit M, the gradients it may spend over all time, or unlimited"));
    }
    return added;
  }
  TokenResult result;
  result.json = {
      {"id", stored.id}, {"principal", stored.principal}, {"expires", ToJson(stored.expires)}, {"out", command.out}};
  if (limit.has_value()) result.json["limit"] = ToJson(limit->gradients);
  result.text = absl::StrCat("token ", stored.id, " for ", stored.principal, " is in ", command.out, "; expires ",
                             InWords(stored.expires),
                             limit.has_value() ? absl::StrCat("; limit ", InWords(limit->gradients)) : "", "\n");
  return result;
}

std::string State(const StoredToken& token, absl::Time now) {
  if (token.revoked) return "revoked";
  return now >= token.expires ? "expired" : "in force";
}

absl::StatusOr<TokenResult> List(const LedgerOptions& place, absl::Time now) {
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<OwnerLedger> ledger, OpenOwnerLedger(place, /*create=*/false));
  GRADORACLE_ASSIGN_OR_RETURN(const Holdings holdings, ledger->List());
  TokenResult result;
  Json tokens = Json::array();
  std::string& text = result.text;
  absl::StrAppendFormat(&text, "%-12s  %-9s  %-20s  %-20s  %s\n", "token", "state", "created", "expires", "principal");
  for (const StoredToken& token : holdings.tokens) {
    tokens.push_back({{"id", token.id},
                      {"principal", token.principal},
                      {"created", ToJson(token.created)},
                      {"expires", ToJson(token.expires)},
                      {"state", State(token, now)}});
    absl::StrAppendFormat(&text, "%-12s  %-9s  %-20s  %-20s  %s\n", token.id, State(token, now), InWords(token.created),
                          InWords(token.expires), token.principal);
  }
  Json accounts = Json::array();
  absl::StrAppendFormat(&text, "\n%16s  %16s  %16s  %s\n", "limit", "spent", "remaining", "principal");
  for (const Account& account : holdings.accounts) {
    accounts.push_back({{"principal", account.principal},
                        {"limit", ToJson(account.limit)},
                        {"spent", account.spent},
                        {"remaining", ToJson(Remaining(account))},
                        {"revoked", account.revoked}});
    absl::StrAppendFormat(&text, "%16s  %16d  %16s  %s%s\n", InWords(account.limit), account.spent,
                          InWords(Remaining(account)), account.principal, account.revoked ? " (revoked)" : "");
  }
  const Account& dataset = holdings.dataset;
  absl::StrAppendFormat(&text, "%16s  %16d  %16s  (all together)\n", InWords(dataset.limit), dataset.spent,
                        InWords(Remaining(dataset)));
  result.json = {
      {"tokens", tokens},
      {"accounts", accounts},
      {"dataset",
       {{"limit", ToJson(dataset.limit)}, {"spent", dataset.spent}, {"remaining", ToJson(Remaining(dataset))}}},
      {"unit", "gradients"}};
  return result;
}

absl::StatusOr<TokenResult> Revoke(const TokenCommand& command, const LedgerOptions& place) {
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<OwnerLedger> ledger, OpenOwnerLedger(place, /*create=*/false));
  if (!command.token_id.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ledger->RevokeToken(command.token_id));
    return TokenResult{{{"revoked_token", command.token_id}},
                       absl::StrCat("token ", command.token_id, " is revoked\n")};
  }
  GRADORACLE_RETURN_IF_ERROR(ledger->RevokePrincipal(command.principal));
  return TokenResult{{{"revoked_principal", command.principal}},
                     absl::StrCat(command.principal, " and all its tokens are revoked; what it has spent stays\n")};
}

absl::StatusOr<TokenResult> Grant(const TokenCommand& command, const LedgerOptions& place) {
  GRADORACLE_ASSIGN_OR_RETURN(const Limit limit, ParseLimit(command.limit));
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<OwnerLedger> ledger, OpenOwnerLedger(place, /*create=*/true));
  GRADORACLE_RETURN_IF_ERROR(ledger->SetLimit(command.principal, limit));
  return TokenResult{
      {{"principal", command.principal}, {"limit", ToJson(limit.gradients)}},
      absl::StrCat(command.principal, " may spend ", InWords(limit.gradients), " gradients over all time\n")};
}

absl::StatusOr<TokenResult> Cap(const TokenCommand& command, const LedgerOptions& place) {
  GRADORACLE_ASSIGN_OR_RETURN(const Limit limit, ParseLimit(command.limit));
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<OwnerLedger> ledger, OpenOwnerLedger(place, /*create=*/true));
  GRADORACLE_RETURN_IF_ERROR(ledger->SetDatasetLimit(limit));
  return TokenResult{
      {{"limit", ToJson(limit.gradients)}},
      absl::StrCat("all principals together may spend ", InWords(limit.gradients), " gradients over all time\n")};
}

}  // namespace
}  // namespace gradoracle
