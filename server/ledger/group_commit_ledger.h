#ifndef GRADORACLE_SERVER_LEDGER_GROUP_COMMIT_LEDGER_H_
#define GRADORACLE_SERVER_LEDGER_GROUP_COMMIT_LEDGER_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "server/ledger/audit_log.h"
#include "server/ledger/charge_rules.h"
#include "server/ledger/ledger.h"
#include "server/ledger/ledger_store.h"
#include "server/operations/metrics.h"

namespace gradoracle {

struct GroupCommitOptions {
  ChargeRules rules;
  // Label of the data served, remembered in the ledger; empty: nothing is served (the owner's verbs).
  std::string dataset_version;
  // Charges committed together at most.
  size_t max_group = 1024;
  // After an error of the store: pauses before it is opened again, doubled from the first to the longest.
  absl::Duration first_pause = absl::Milliseconds(50);
  absl::Duration longest_pause = absl::Seconds(5);
  // How much later than the stored clock the time is before it is stored again.
  absl::Duration clock_step = absl::Seconds(10);
  Metrics* metrics = nullptr;
  // Called when healthy() has changed, by whoever starts the ledger and then from the ledger's thread. May be empty.
  std::function<void(bool healthy)> on_health = {};
};

// A ledger over any store. One thread owns the store and takes everything that has queued up: all charges waiting share
// one transaction and one sync, and while that is under way the next group gathers.
//
// Any error of the store closes it: everybody waiting is refused, and so is everything that comes until it could be
// opened again, which is tried at growing intervals. A transaction whose commit failed may have taken place; its
// charges are then spent and unanswered, never answered and unspent. A store with less spent than this process has seen
// spent, or than the audit log tells (a restored copy, a standby that lagged), is not used.
//
// What was committed goes into the audit log next, and only then is anybody told: so the ledger is never behind the
// log. An error of the log refuses like one of the store, until the log has taken everything that was committed.
class GroupCommitLedger final : public Ledger {
 public:
  // Opens the store. Errors: the store's, for the owner.
  // `audit_log` may be nullptr.
  static absl::StatusOr<std::unique_ptr<GroupCommitLedger>> Start(std::unique_ptr<LedgerStore> store,
                                                                  std::unique_ptr<AuditLog> audit_log,
                                                                  const GroupCommitOptions& options);
  ~GroupCommitLedger() override;  // finishes what was asked, then closes the store

  void Charge(const ChargeRequest& request, Done done) override;
  absl::StatusOr<Account> FindAccount(absl::string_view principal) override;
  absl::StatusOr<std::vector<Account>> Accounts() override;
  absl::Status SetLimit(absl::string_view principal, std::optional<int64_t> limit) override;
  absl::Status Revoke(absl::string_view principal) override;
  absl::Status SetDatasetLimit(std::optional<int64_t> limit) override;
  absl::StatusOr<Account> DatasetAccount() override;
  absl::Status AddToken(const StoredToken& token) override;
  absl::Status RevokeToken(absl::string_view id) override;
  absl::StatusOr<std::vector<StoredToken>> Tokens() override;
  absl::Time Clock() override;
  bool healthy() const override { return healthy_; }

 private:
  struct PendingCharge {
    ChargeRequest request;
    Done done;
  };
  // What the owner does in one transaction. Returns errors of the store; `refusal` takes a refusal of the owner's wish,
  // which rolls back.
  using Work = std::function<absl::Status(LedgerStore& store, absl::Status* refusal)>;
  struct PendingTask {
    Work work;
    nlohmann::ordered_json record;  // for the audit log; null: none
    Done done;
  };
  using Pending = std::variant<PendingCharge, PendingTask>;

  GroupCommitLedger(std::unique_ptr<LedgerStore> store, std::unique_ptr<AuditLog> audit_log,
                    const GroupCommitOptions& options);

  void Run();
  void RunCharges(std::vector<PendingCharge> group);
  void RunTask(const PendingTask& task);
  // Waits for a task of this kind. Not from the ledger's thread.
  absl::Status Await(Work work, nlohmann::ordered_json record = nullptr);

  void Enqueue(Pending pending);
  // What has queued up: a group of charges, or one task. Empty: nothing for a while, or the end.
  std::vector<Pending> Take(bool* stop);

  // Begin, `work`, Commit (Rollback where *keep was set false); an error of any closes the store.
  absl::Status Transact(absl::FunctionRef<absl::Status(bool* keep)> work);
  // Writes to the audit log, if there is one; an error closes the store, and the records are written before it is used
  // again.
  absl::Status Audit(std::vector<nlohmann::ordered_json> records);
  // Writes what an error has kept out of the audit log.
  absl::Status CatchUp();
  absl::Status Open();
  // The first transaction: nothing is forgotten, and something can be written.
  absl::Status CheckHistory();
  // Opens the store again once its pause is over.
  absl::Status EnsureOpen();
  void Fail(const absl::Status& error);
  void SetHealthy(bool healthy);
  // Stores the clock where it is due.
  absl::Status KeepClock(bool* changed);

  const std::unique_ptr<LedgerStore> store_;
  const std::unique_ptr<AuditLog> audit_log_;
  const GroupCommitOptions options_;
  std::atomic<bool> healthy_{false};
  std::atomic<int64_t> clock_micros_{0};  // of Clock: microseconds since 1970, never going back

  // Of the ledger's thread.
  bool open_ = false;
  std::chrono::steady_clock::time_point next_try_;
  absl::Duration pause_;
  int64_t known_spent_ = 0;                        // by all principals
  std::vector<nlohmann::ordered_json> unaudited_;  // committed, not in the audit log yet
  absl::Time stored_clock_ = absl::InfinitePast();

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Pending> queue_;  // guarded by mutex_
  bool stopping_ = false;      // guarded by mutex_
  std::thread thread_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_GROUP_COMMIT_LEDGER_H_
