#include "server/ledger/charge_rules.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
constexpr int64_t kMostGradients = int64_t{1} << 53;

// The rows a group of charges has met, as they will be when it is written: one read and one write for each row, however
// many charges meet it.
class Group {
 public:
  Group(const ChargeRules& rules, LedgerStore& store) : rules_(rules), store_(store) {}

  absl::StatusOr<ChargeOutcome> Decide(const ChargeRequest& request);
  absl::Status Write();
  bool changed() const { return changed_; }

 private:
  struct AccountRow {
    Account account;
    int64_t cost = 0;   // to be added to what is stored
    bool made = false;  // not stored yet
  };
  struct RequestRow {
    std::optional<StoredRequest> stored;
    bool changed = false;
  };
  using RequestName = std::pair<std::string, std::string>;  // principal, request id

  absl::StatusOr<AccountRow*> FindAccount(const std::string& principal);
  // The account of row uses. `dataset` as it is before anything is charged to it.
  absl::StatusOr<AccountRow*> FindParticipation(const Account& dataset);
  // The limits that are the data set's own.
  void CheckDataset(const ChargeRequest& request, bool is_new, const Account& dataset, const Account& participation,
                    int64_t wanted, absl::Status& refusal) const;
  absl::StatusOr<RequestRow*> FindRequest(const ChargeRequest& request);
  absl::Status WriteAccount(const AccountRow& row);

  const ChargeRules& rules_;
  LedgerStore& store_;
  std::map<std::string, std::optional<AccountRow>> accounts_;
  std::map<RequestName, RequestRow> requests_;
  bool changed_ = false;
};

absl::Status CheckCharge(const ChargeRequest& request);
// The gradients of `request` that are not paid for yet.
absl::StatusOr<int64_t> Cost(const ChargeRequest& request, const std::optional<StoredRequest>& stored,
                             const ChargeRules& rules);
// What a request that is new needs in all. One that is resumed may have all that it was charged for, whatever is left.
int64_t WholeCost(const ChargeRequest& request, const std::optional<StoredRequest>& stored);
absl::Status CheckLimit(const Account& account, int64_t cost, absl::string_view reason, absl::string_view subject,
                        absl::string_view unit = "gradients", absl::string_view field = "");
absl::Status NoAccount(absl::string_view principal);
absl::Status Revoked(absl::string_view principal);

absl::StatusOr<ChargeOutcome> Group::Decide(const ChargeRequest& request) {
  if (const absl::Status status = CheckCharge(request); !status.ok()) return ChargeOutcome{status};
  GRADORACLE_ASSIGN_OR_RETURN(AccountRow * payer, FindAccount(request.principal));
  if (payer == nullptr) return ChargeOutcome{NoAccount(request.principal)};
  if (payer->account.revoked) return ChargeOutcome{Revoked(request.principal)};
  GRADORACLE_ASSIGN_OR_RETURN(RequestRow * named, FindRequest(request));
  const absl::StatusOr<int64_t> cost = Cost(request, named == nullptr ? std::nullopt : named->stored, rules_);
  if (!cost.ok()) return ChargeOutcome{cost.status()};
  GRADORACLE_ASSIGN_OR_RETURN(AccountRow * dataset, FindAccount(""));
  if (dataset == nullptr) return absl::InternalError("the ledger has lost the account of the data set");
  const int64_t wanted = std::max(*cost, WholeCost(request, named == nullptr ? std::nullopt : named->stored));
  absl::Status status =
      CheckLimit(payer->account, wanted, "BUDGET_EXHAUSTED", absl::StrCat("the budget of '", request.principal, "'"));
  status.Update(
      CheckLimit(dataset->account, wanted, "DATASET_BUDGET_EXHAUSTED", "what is left of the data set's budget"));
  const bool is_new = request.begins && (named == nullptr || !named->stored.has_value());
  GRADORACLE_ASSIGN_OR_RETURN(AccountRow * rows, FindParticipation(dataset->account));
  CheckDataset(request, is_new, dataset->account, rows->account, wanted, status);
  if (!status.ok()) return ChargeOutcome{status};
  if (is_new) {
    const int64_t uses = std::min(request.participations, kUnlimited - rows->account.spent);
    rows->account.spent += uses;
    rows->cost += uses;
  }
  if (*cost > 0) {
    changed_ = true;
    for (AccountRow* row : {payer, dataset}) {
      row->account.spent += *cost;
      row->cost += *cost;
    }
    if (named != nullptr) {
      named->stored = StoredRequest{request.digest, rules_.epoch, request.first + request.count};
      named->changed = true;
    }
  }
  return ChargeOutcome{absl::OkStatus(), *cost, payer->account.spent};
}

absl::Status Group::Write() {
  for (const auto& [principal, row] : accounts_) {
    if (row.has_value()) GRADORACLE_RETURN_IF_ERROR(WriteAccount(*row));
  }
  bool named = false;
  for (const auto& [name, row] : requests_) {
    if (!row.changed) continue;
    GRADORACLE_RETURN_IF_ERROR(store_.PutRequest(name.first, name.second, *row.stored));
    named = true;
  }
  return named ? store_.PruneRequests(rules_.max_requests) : absl::OkStatus();
}

// nullptr: there is no such account, and none is made.
absl::StatusOr<Group::AccountRow*> Group::FindAccount(const std::string& principal) {
  const auto known = accounts_.find(principal);
  if (known != accounts_.end()) return known->second.has_value() ? &*known->second : nullptr;
  GRADORACLE_ASSIGN_OR_RETURN(std::optional<Account> stored, store_.FindAccount(principal));
  std::optional<AccountRow>& row = accounts_[principal];
  if (stored.has_value()) {
    row = AccountRow{*std::move(stored)};
  } else if (rules_.default_limit.has_value() || principal == rules_.unlimited_principal) {
    row = AccountRow{{principal, rules_.default_limit}, 0, true};
  }
  return row.has_value() ? &*row : nullptr;
}

// Made without a limit where it is not there yet: the limit is the rules'. Each gradient charged before it was made is
// taken for one use of every row.
absl::StatusOr<Group::AccountRow*> Group::FindParticipation(const Account& dataset) {
  const std::string name(kParticipationAccount);
  std::optional<AccountRow>& row = accounts_[name];
  if (row.has_value()) return &*row;
  GRADORACLE_ASSIGN_OR_RETURN(std::optional<Account> stored, store_.FindAccount(name));
  row = stored.has_value() ? AccountRow{*std::move(stored)}
                           : AccountRow{{name, std::nullopt, dataset.spent}, dataset.spent, true};
  return &*row;
}

void Group::CheckDataset(const ChargeRequest& request, bool is_new, const Account& dataset,
                         const Account& participation, int64_t wanted, absl::Status& refusal) const {
  if (rules_.curvature_floor.has_value()) {
    Account floor = dataset;
    floor.limit = rules_.curvature_floor;
    refusal.Update(CheckLimit(floor, wanted, "CURVATURE_FLOOR", "what the owner lets be known of the curvature",
                              "gradients", "count"));
  }
  if (!rules_.max_participation.has_value() || !is_new) return;
  Account uses = participation;
  uses.limit = rules_.max_participation;
  refusal.Update(CheckLimit(uses, request.participations, "PARTICIPATION_EXHAUSTED",
                            "how often a row may be used at this oracle", "uses", "count"));
}

// nullptr: unnamed.
absl::StatusOr<Group::RequestRow*> Group::FindRequest(const ChargeRequest& request) {
  if (request.request_id.empty()) return nullptr;
  const RequestName name = {request.principal, request.request_id};
  const auto known = requests_.find(name);
  if (known != requests_.end()) return &known->second;
  GRADORACLE_ASSIGN_OR_RETURN(std::optional<StoredRequest> stored,
                              store_.FindRequest(request.principal, request.request_id));
  return &(requests_[name] = {std::move(stored)});
}

// The statement that spends holds the condition again: what was decided above from a row read before must hold for the
// row as it is now.
absl::Status Group::WriteAccount(const AccountRow& row) {
  if (row.cost == 0) return absl::OkStatus();
  const Account& account = row.account;
  if (row.made) GRADORACLE_RETURN_IF_ERROR(store_.PutAccount(account.principal, account.limit, /*revoked=*/false));
  GRADORACLE_ASSIGN_OR_RETURN(const std::optional<int64_t> spent, store_.Spend(account.principal, row.cost));
  if (spent == account.spent) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("an account changed under a transaction of the ledger: expected to have spent ", account.spent,
                   ", has ", spent.value_or(-1)));
}

absl::Status CheckCharge(const ChargeRequest& request) {
  if (IsPrincipal(request.principal) && request.first >= 0 && request.count >= 1 && request.count <= kMostGradients &&
      request.first <= kMostGradients - request.count && request.participations >= 0) {
    return absl::OkStatus();
  }
  return InvalidField("LEDGER_CHARGE", "",
                      absl::StrCat("gradients [", request.first, ", + ", request.count,
                                   ") cannot be charged: needs a principal in UTF-8 without control characters, first "
                                   ">= 0, count >= 1 and an end of at most ",
                                   kMostGradients));
}

absl::StatusOr<int64_t> Cost(const ChargeRequest& request, const std::optional<StoredRequest>& stored,
                             const ChargeRules& rules) {
  const std::string& id = request.request_id;
  if (!stored.has_value()) {
    // A piece that does not begin a call follows others: then the row was there and is forgotten, the pieces are paid.
    if (!request.begins || request.first == 0) return request.count;
    return MakeError(absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id",
                     absl::StrCat("request_id '", id, "' cannot resume at first_gradient ", request.first,
                                  ": this server process has not begun to answer it (charged, unanswered); "
                                  "start a new request with a new request_id"));
  }
  if (stored->digest != request.digest) {
    return MakeError(
        absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED", "request_id",
        absl::StrCat("request_id '", id,
                     "' names an earlier request with other content; a new request needs a new request_id"));
  }
  if (stored->epoch != rules.epoch) {
    return MakeError(absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id",
                     absl::StrCat("request_id '", id,
                                  "' was begun by another server process, which alone could answer it with the same "
                                  "gradients (charged, unanswered); start a new request with a new request_id"));
  }
  // What was never charged was never sent: a resumption beyond it would be charged for gradients that nobody gets.
  if (request.begins && request.first > stored->charged) {
    return FieldOutOfRange("FIRST_GRADIENT", "first_gradient",
                           absl::StrCat("first_gradient is ", request.first, ", but only ", stored->charged,
                                        " gradients of this request have been sent; resume at the first one missing"));
  }
  return std::max<int64_t>(0, request.first + request.count - stored->charged);
}

int64_t WholeCost(const ChargeRequest& request, const std::optional<StoredRequest>& stored) {
  return request.begins && !stored.has_value() ? request.total : 0;
}

// Written so that nothing can overflow: 0 <= cost, and spent + cost is never formed before it is known to fit.
absl::Status CheckLimit(const Account& account, int64_t cost, absl::string_view reason, absl::string_view subject,
                        absl::string_view unit, absl::string_view field) {
  const int64_t limit = account.limit.value_or(kUnlimited);
  if (cost == 0 || account.spent <= limit - cost) return absl::OkStatus();
  return MakeQuotaError(reason, subject,
                        {limit, account.spent, cost, account.spent < limit ? limit - account.spent : 0}, unit, field);
}

absl::Status NoAccount(absl::string_view principal) {
  return MakeError(absl::StatusCode::kPermissionDenied, "NO_ACCOUNT", "",
                   absl::StrCat("'", principal,
                                "' has no budget here; the owner of the oracle grants one with gradoracle-server token "
                                "grant --principal P --limit M --ledger L"));
}

absl::Status Revoked(absl::string_view principal) {
  return MakeError(absl::StatusCode::kPermissionDenied, "ACCOUNT_REVOKED", "",
                   absl::StrCat("the owner of the oracle has revoked the access of '", principal, "'"));
}

}  // namespace

bool IsPrincipal(absl::string_view name) {
  if (name.empty()) return false;
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  try {
    static_cast<void>(nlohmann::json(std::string(name)).dump());  // strict about UTF-8
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
  return true;
}

absl::StatusOr<std::vector<ChargeOutcome>> ApplyCharges(absl::Span<const ChargeRequest> requests,
                                                        const ChargeRules& rules, LedgerStore& store, bool* changed) {
  Group group(rules, store);
  std::vector<ChargeOutcome> outcomes;
  outcomes.reserve(requests.size());
  for (const ChargeRequest& request : requests) {
    GRADORACLE_ASSIGN_OR_RETURN(ChargeOutcome outcome, group.Decide(request));
    outcomes.push_back(std::move(outcome));
  }
  GRADORACLE_RETURN_IF_ERROR(group.Write());
  *changed = group.changed();
  return outcomes;
}

}  // namespace gradoracle
