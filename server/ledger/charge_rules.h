#ifndef GRADORACLE_SERVER_LEDGER_CHARGE_RULES_H_
#define GRADORACLE_SERVER_LEDGER_CHARGE_RULES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/ledger/ledger.h"
#include "server/ledger/ledger_store.h"

namespace gradoracle {

struct ChargeRules {
  // This process, whose secret makes the noise. Requests begun under another epoch are lost.
  std::string epoch;
  // A principal that gets an account without a limit when it first asks; empty: nobody does.
  std::string unlimited_principal;
  // Limit of the account any other principal gets when it first asks; unset: only the owner makes accounts.
  std::optional<int64_t> default_limit;
  // Named requests remembered. Forgetting one gives nothing away: asked again in this process it is charged again, for
  // the same bytes; with other content, or in another process, key and noise are others. What it loses is the check of
  // a reused id, and resumption (REQUEST_LOST).
  int64_t max_requests = 65'536;
  // Gradients that all principals together may have before somebody could know the curvature too well; unset: any.
  std::optional<int64_t> curvature_floor;
  // Uses of any one row, over all requests of all principals and all versions of the data, those from before there was
  // a cap included; unset: counted, not capped.
  std::optional<int64_t> max_participation;
};

// The account that row uses are charged to; no principal can be called so. Not in gradients, and no part of any sum.
inline constexpr absl::string_view kParticipationAccount = "\x1fparticipation";

// What became of one charge.
struct ChargeOutcome {
  absl::Status status;  // errors: those of Ledger::Charge
  int64_t cost = 0;     // of this charge; 0 when refused, or paid for before
  int64_t spent = 0;    // of the principal, this charge included
};

// Whether an account can be called so: not empty (the data set's), UTF-8, no control characters. Not every database
// can hold others.
bool IsPrincipal(absl::string_view name);

// Decides `requests` in their order and writes what was charged. To be called within a transaction of `store`; nothing
// has been charged until that is committed. `*changed`: whether there is anything to commit.
// Errors: the store's; kInternal when a row has another value than the one just read. Roll back then.
absl::StatusOr<std::vector<ChargeOutcome>> ApplyCharges(absl::Span<const ChargeRequest> requests,
                                                        const ChargeRules& rules, LedgerStore& store, bool* changed);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_CHARGE_RULES_H_
