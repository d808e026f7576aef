#include "server/ledger/group_commit_ledger.h"

#include <algorithm>
#include <future>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/operations/failpoint.h"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

// How often an idle ledger stores the clock.
constexpr absl::Duration kIdle = absl::Seconds(60);

absl::Status Unavailable();
absl::StatusOr<std::vector<Account>> Principals(LedgerStore& store);
absl::Status NoSuchAccount(absl::string_view principal);
absl::Status CheckLimitValue(std::optional<int64_t> limit);
absl::Status CheckPrincipal(absl::string_view principal);
absl::Status WentBack(absl::string_view who, int64_t expected, int64_t found);
nlohmann::ordered_json LimitJson(std::optional<int64_t> limit);
nlohmann::ordered_json ChargeRecord(const ChargeRequest& request, const ChargeOutcome& outcome,
                                    const std::string& dataset_version);

}  // namespace

absl::StatusOr<std::unique_ptr<GroupCommitLedger>> GroupCommitLedger::Start(std::unique_ptr<LedgerStore> store,
                                                                            std::unique_ptr<AuditLog> audit_log,
                                                                            const GroupCommitOptions& options) {
  auto ledger =
      std::unique_ptr<GroupCommitLedger>(new GroupCommitLedger(std::move(store), std::move(audit_log), options));
  GRADORACLE_RETURN_IF_ERROR(ledger->Open());
  if (!options.dataset_version.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ledger->Audit({{{"event", "serve"}, {"dataset_version", options.dataset_version}}}));
  }
  ledger->thread_ = std::thread([raw = ledger.get()] { raw->Run(); });
  return ledger;
}

GroupCommitLedger::GroupCommitLedger(std::unique_ptr<LedgerStore> store, std::unique_ptr<AuditLog> audit_log,
                                     const GroupCommitOptions& options)
    : store_(std::move(store)), audit_log_(std::move(audit_log)), options_(options), pause_(options.first_pause) {}

GroupCommitLedger::~GroupCommitLedger() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
  CatchUp().IgnoreError();  // the last chance; it has been told that the log does not work
  store_->Close();
}

void GroupCommitLedger::Charge(const ChargeRequest& request, Done done) {
  Enqueue(PendingCharge{request, std::move(done)});
}

absl::StatusOr<Account> GroupCommitLedger::FindAccount(absl::string_view principal) {
  if (!IsPrincipal(principal)) return NoSuchAccount(principal);
  Account account;
  account.principal = std::string(principal);
  GRADORACLE_RETURN_IF_ERROR(Await([&](LedgerStore& store, absl::Status* refusal) -> absl::Status {
    GRADORACLE_ASSIGN_OR_RETURN(const std::optional<Account> stored, store.FindAccount(principal));
    const ChargeRules& rules = options_.rules;
    if (stored.has_value()) {
      account = *stored;
    } else if (rules.default_limit.has_value() || principal == rules.unlimited_principal) {
      account.limit = rules.default_limit;  // as it will be made when it first asks
    } else {
      *refusal = NoSuchAccount(principal);
    }
    return absl::OkStatus();
  }));
  return account;
}

absl::StatusOr<std::vector<Account>> GroupCommitLedger::Accounts() {
  std::vector<Account> accounts;
  GRADORACLE_RETURN_IF_ERROR(Await([&](LedgerStore& store, absl::Status*) -> absl::Status {
    GRADORACLE_ASSIGN_OR_RETURN(accounts, Principals(store));
    return absl::OkStatus();
  }));
  return accounts;
}

absl::Status GroupCommitLedger::SetLimit(absl::string_view principal, std::optional<int64_t> limit) {
  GRADORACLE_RETURN_IF_ERROR(CheckPrincipal(principal));
  GRADORACLE_RETURN_IF_ERROR(CheckLimitValue(limit));
  return Await([&](LedgerStore& store, absl::Status*) { return store.PutAccount(principal, limit, false); },
               {{"event", "set_limit"}, {"principal", std::string(principal)}, {"limit", LimitJson(limit)}});
}

absl::Status GroupCommitLedger::Revoke(absl::string_view principal) {
  GRADORACLE_RETURN_IF_ERROR(CheckPrincipal(principal));
  return Await(
      [&](LedgerStore& store, absl::Status* refusal) -> absl::Status {
        GRADORACLE_ASSIGN_OR_RETURN(const std::optional<Account> account, store.FindAccount(principal));
        if (account.has_value()) return store.PutAccount(principal, account->limit, /*revoked=*/true);
        *refusal = NoSuchAccount(principal);
        return absl::OkStatus();
      },
      {{"event", "revoke"}, {"principal", std::string(principal)}});
}

absl::Status GroupCommitLedger::SetDatasetLimit(std::optional<int64_t> limit) {
  GRADORACLE_RETURN_IF_ERROR(CheckLimitValue(limit));
  return Await([&](LedgerStore& store, absl::Status*) { return store.PutAccount("", limit, false); },
               {{"event", "set_dataset_limit"}, {"limit", LimitJson(limit)}});
}

absl::StatusOr<Account> GroupCommitLedger::DatasetAccount() {
  Account account;
  GRADORACLE_RETURN_IF_ERROR(Await([&](LedgerStore& store, absl::Status*) -> absl::Status {
    GRADORACLE_ASSIGN_OR_RETURN(const std::optional<Account> stored, store.FindAccount(""));
    if (!stored.has_value()) return absl::InternalError("the ledger has lost the account of the data set");
    account = *stored;
    return absl::OkStatus();
  }));
  return account;
}

absl::Status GroupCommitLedger::AddToken(const StoredToken& token) {
  return Await(
      [&](LedgerStore& store, absl::Status* refusal) -> absl::Status {
        GRADORACLE_ASSIGN_OR_RETURN(const bool added, store.AddToken(token));
        if (!added) *refusal = MakeError(absl::StatusCode::kAlreadyExists, "TOKEN_EXISTS", "token", "the token exists");
        return absl::OkStatus();
      },
      {{"event", "add_token"}, {"principal", token.principal}, {"token", token.id}});
}

absl::Status GroupCommitLedger::RevokeToken(absl::string_view id) {
  return Await(
      [&](LedgerStore& store, absl::Status* refusal) -> absl::Status {
        GRADORACLE_ASSIGN_OR_RETURN(const bool revoked, store.RevokeToken(id));
        if (revoked) return absl::OkStatus();
        *refusal = MakeError(absl::StatusCode::kNotFound, "TOKEN_NOT_FOUND", "token",
                             absl::StrCat("there is no token '", id, "'; gradoracle-server token list shows them"));
        return absl::OkStatus();
      },
      {{"event", "revoke_token"}, {"token", std::string(id)}});
}

absl::StatusOr<std::vector<StoredToken>> GroupCommitLedger::Tokens() {
  std::vector<StoredToken> tokens;
  GRADORACLE_RETURN_IF_ERROR(Await([&](LedgerStore& store, absl::Status*) -> absl::Status {
    GRADORACLE_ASSIGN_OR_RETURN(tokens, store.Tokens());
    return absl::OkStatus();
  }));
  return tokens;
}

absl::Time GroupCommitLedger::Clock() {
  const int64_t now = absl::ToUnixMicros(absl::Now());
  int64_t known = clock_micros_;
  while (known < now && !clock_micros_.compare_exchange_weak(known, now)) {
  }
  return absl::FromUnixMicros(std::max(known, now));
}

absl::Status GroupCommitLedger::Await(Work work, nlohmann::ordered_json record) {
  std::promise<absl::Status> result;
  Enqueue(
      PendingTask{std::move(work), std::move(record), [&](const absl::Status& status) { result.set_value(status); }});
  return result.get_future().get();
}

void GroupCommitLedger::Enqueue(Pending pending) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(pending));
  }
  work_.notify_one();
}

std::vector<GroupCommitLedger::Pending> GroupCommitLedger::Take(bool* stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto something = [this] { return !queue_.empty() || stopping_; };
  if (open_) {
    work_.wait_for(lock, absl::ToChronoMilliseconds(kIdle), something);
  } else {
    work_.wait_until(lock, next_try_, something);
  }
  *stop = stopping_ && queue_.empty();
  std::vector<Pending> taken;
  while (!queue_.empty() && taken.size() < options_.max_group) {
    if (!taken.empty() && std::holds_alternative<PendingTask>(queue_.front())) break;
    taken.push_back(std::move(queue_.front()));
    queue_.pop_front();
    if (std::holds_alternative<PendingTask>(taken.back())) break;
  }
  return taken;
}

void GroupCommitLedger::Run() {
  for (bool stop = false; !stop;) {
    std::vector<Pending> taken = Take(&stop);
    if (taken.empty()) {
      if (stop || !EnsureOpen().ok()) continue;
      Transact([&](bool* keep) {
        *keep = false;
        return KeepClock(keep);
      }).IgnoreError();
    } else if (const PendingTask* task = std::get_if<PendingTask>(&taken.front())) {
      RunTask(*task);
    } else {
      std::vector<PendingCharge> group;
      group.reserve(taken.size());
      for (Pending& pending : taken) group.push_back(std::get<PendingCharge>(std::move(pending)));
      RunCharges(std::move(group));
    }
  }
}

void GroupCommitLedger::RunCharges(std::vector<PendingCharge> group) {
  ReachFailpoint("before_charge");
  std::vector<ChargeRequest> requests;
  requests.reserve(group.size());
  for (PendingCharge& pending : group) requests.push_back(std::move(pending.request));
  std::vector<ChargeOutcome> outcomes;
  const auto begin = std::chrono::steady_clock::now();
  absl::Status status = EnsureOpen();
  bool changed = false;
  if (status.ok()) {
    status = Transact([&](bool* keep) -> absl::Status {
      GRADORACLE_ASSIGN_OR_RETURN(outcomes, ApplyCharges(requests, options_.rules, *store_, &changed));
      *keep = changed;
      if (changed) GRADORACLE_RETURN_IF_ERROR(KeepClock(keep));
      ReachFailpoint("before_commit");
      return absl::OkStatus();
    });
  }
  if (status.ok() && changed) {
    ReachFailpoint("after_commit");
    std::vector<nlohmann::ordered_json> records;
    for (size_t i = 0; audit_log_ != nullptr && i < outcomes.size(); ++i) {
      if (outcomes[i].cost > 0) records.push_back(ChargeRecord(requests[i], outcomes[i], options_.dataset_version));
    }
    status = Audit(std::move(records));
    int64_t charged = 0;
    for (const ChargeOutcome& outcome : outcomes) charged += outcome.cost;
    known_spent_ += charged;
    if (options_.metrics != nullptr) {
      options_.metrics->LedgerCommitted(charged, absl::FromChrono(std::chrono::steady_clock::now() - begin));
    }
  }
  if (!status.ok()) outcomes.assign(group.size(), ChargeOutcome{Unavailable()});
  ReachFailpoint("after_sync");
  for (size_t i = 0; i < group.size(); ++i) group[i].done(outcomes[i].status);
}

void GroupCommitLedger::RunTask(const PendingTask& task) {
  absl::Status refusal;
  absl::Status status = EnsureOpen();
  if (status.ok()) {
    status = Transact([&](bool* keep) {
      const absl::Status result = task.work(*store_, &refusal);
      *keep = refusal.ok();
      return result;
    });
  }
  if (status.ok() && refusal.ok() && !task.record.is_null()) status = Audit({task.record});
  task.done(status.ok() ? refusal : Unavailable());
}

absl::Status GroupCommitLedger::Transact(absl::FunctionRef<absl::Status(bool* keep)> work) {
  bool keep = true;
  absl::Status status = store_->Begin();
  if (status.ok()) status = work(&keep);
  if (status.ok()) status = keep ? store_->Commit() : store_->Rollback();
  if (!status.ok()) Fail(status);
  return status;
}

absl::Status GroupCommitLedger::Audit(std::vector<nlohmann::ordered_json> records) {
  std::move(records.begin(), records.end(), std::back_inserter(unaudited_));
  absl::Status status = CatchUp();
  if (!status.ok()) Fail(status);
  return status;
}

absl::Status GroupCommitLedger::CatchUp() {
  if (audit_log_ != nullptr && !unaudited_.empty()) GRADORACLE_RETURN_IF_ERROR(audit_log_->Append(unaudited_));
  unaudited_.clear();
  return absl::OkStatus();
}

absl::Status GroupCommitLedger::Open() {
  absl::Status status = store_->Open();
  if (status.ok()) status = store_->Begin();
  if (status.ok()) status = CheckHistory();
  if (status.ok()) status = store_->Commit();
  if (status.ok()) status = CatchUp();
  if (!status.ok()) {
    store_->Close();
    return status;
  }
  open_ = true;
  SetHealthy(true);
  pause_ = options_.first_pause;
  return absl::OkStatus();
}

absl::Status GroupCommitLedger::CheckHistory() {
  GRADORACLE_ASSIGN_OR_RETURN(const std::optional<Account> dataset, store_->FindAccount(""));
  const int64_t spent = dataset.has_value() ? dataset->spent : 0;
  if (spent < known_spent_) return WentBack("this process saw all callers", known_spent_, spent);
  known_spent_ = spent;
  GRADORACLE_ASSIGN_OR_RETURN(const std::vector<Account> accounts, Principals(*store_));
  uint64_t sum = 0;
  for (const Account& account : accounts) sum += static_cast<uint64_t>(account.spent);
  if (sum != static_cast<uint64_t>(spent)) {
    return MakeError(
        absl::StatusCode::kDataLoss, "LEDGER_CORRUPT", "ledger",
        absl::StrCat("the ledger contradicts itself: its accounts have spent ", sum, ", together ", spent));
  }
  if (audit_log_ != nullptr) {
    for (const auto& [principal, audited] : audit_log_->summary().spent) {
      GRADORACLE_ASSIGN_OR_RETURN(const std::optional<Account> account, store_->FindAccount(principal));
      const int64_t stored = account.has_value() ? account->spent : 0;
      if (stored < audited) return WentBack(absl::StrCat("the audit log says '", principal, "'"), audited, stored);
    }
  }
  GRADORACLE_ASSIGN_OR_RETURN(const absl::Time clock, store_->Clock());
  const int64_t stored = clock == absl::InfinitePast() ? 0 : absl::ToUnixMicros(clock);
  for (int64_t known = clock_micros_; known < stored && !clock_micros_.compare_exchange_weak(known, stored);) {
  }
  if (!options_.dataset_version.empty()) {
    GRADORACLE_RETURN_IF_ERROR(store_->RecordDatasetVersion(options_.dataset_version, Clock()));
  }
  stored_clock_ = Clock();
  return store_->SetClock(stored_clock_);
}

absl::Status GroupCommitLedger::EnsureOpen() {
  if (open_) return absl::OkStatus();
  if (std::chrono::steady_clock::now() < next_try_) return Unavailable();
  const absl::Status status = Open();
  if (status.ok()) {
    Log(LogLevel::kInfo, "the ledger works again");
  } else {
    Fail(status);
  }
  return status;
}

void GroupCommitLedger::Fail(const absl::Status& error) {
  store_->Close();
  open_ = false;
  SetHealthy(false);
  next_try_ = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(pause_);
  Log(LogLevel::kError, "the ledger does not work; no query is answered until it does",
      {{"error", std::string(error.message())}, {"next_try_in", absl::FormatDuration(pause_)}});
  pause_ = std::min(2 * pause_, options_.longest_pause);
  if (options_.metrics != nullptr) options_.metrics->LedgerFailed();
}

void GroupCommitLedger::SetHealthy(bool healthy) {
  if (healthy_.exchange(healthy) != healthy && options_.on_health) options_.on_health(healthy);
}

absl::Status GroupCommitLedger::KeepClock(bool* changed) {
  const absl::Time now = Clock();
  if (now < stored_clock_ + options_.clock_step) return absl::OkStatus();
  GRADORACLE_RETURN_IF_ERROR(store_->SetClock(now));
  stored_clock_ = now;
  *changed = true;
  return absl::OkStatus();
}

namespace {

// The accounts in gradients: without the one of row uses.
absl::StatusOr<std::vector<Account>> Principals(LedgerStore& store) {
  GRADORACLE_ASSIGN_OR_RETURN(std::vector<Account> accounts, store.Accounts());
  std::erase_if(accounts, [](const Account& account) { return account.principal == kParticipationAccount; });
  return accounts;
}

absl::Status Unavailable() {
  return MakeError(
      absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "",
      "the oracle cannot record charges at present, and answers nothing it cannot record; try again later");
}

absl::Status NoSuchAccount(absl::string_view principal) {
  return MakeError(absl::StatusCode::kNotFound, "NO_ACCOUNT", "principal",
                   absl::StrCat("there is no account of '", principal, "'"));
}

absl::Status CheckLimitValue(std::optional<int64_t> limit) {
  if (limit.value_or(0) >= 0) return absl::OkStatus();
  return InvalidField("LEDGER_LIMIT", "limit", absl::StrCat("the limit is ", *limit, ", must be at least 0"));
}

absl::Status CheckPrincipal(absl::string_view principal) {
  if (IsPrincipal(principal)) return absl::OkStatus();
  return InvalidField("LEDGER_PRINCIPAL", "principal",
                      "the principal must be a name: not empty, UTF-8, without control characters");
}

absl::Status WentBack(absl::string_view who, int64_t expected, int64_t found) {
  return MakeError(absl::StatusCode::kDataLoss, "LEDGER_WENT_BACK", "ledger",
                   absl::StrCat("the ledger has forgotten charges: ", who, " spend ", expected,
                                " gradients, the ledger knows of ", found,
                                ". It may have been replaced by an older copy, or by a standby that lagged: bring the "
                                "latest one back"));
}

nlohmann::ordered_json LimitJson(std::optional<int64_t> limit) {
  return limit.has_value() ? nlohmann::ordered_json(*limit) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json ChargeRecord(const ChargeRequest& request, const ChargeOutcome& outcome,
                                    const std::string& dataset_version) {
  return {{"event", "charge"},
          {"principal", request.principal},
          {"request_id", request.request_id},
          {"first", request.first},
          {"count", request.count},
          {"charged", outcome.cost},
          {"spent", outcome.spent},
          {"dataset_version", dataset_version}};
}

}  // namespace
}  // namespace gradoracle
