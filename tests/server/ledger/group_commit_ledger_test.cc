#include "server/ledger/group_commit_ledger.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/ledger/memory_store.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {
namespace {

// What the tests see and decide of a store that belongs to the ledger's thread.
struct Control {
  std::atomic<int> commits{0};
  std::atomic<int> opens{0};
  std::atomic<bool> hold{false};  // commits wait
  std::atomic<bool> fail{false};  // commits fail, having taken place
  std::atomic<bool> unopenable{false};
  std::atomic<bool> forgetful{false};  // the next Open finds an empty ledger
};

class ControlledStore final : public LedgerStore {
 public:
  explicit ControlledStore(std::shared_ptr<Control> control) : control_(std::move(control)) {}
  absl::Status Open() override {
    ++control_->opens;
    if (control_->unopenable) return absl::UnavailableError("unopenable");
    if (control_->forgetful.exchange(false)) store_ = std::make_unique<MemoryStore>();
    return store_->Open();
  }
  void Close() override { store_->Close(); }
  absl::Status Begin() override { return store_->Begin(); }
  absl::Status Commit() override {
    while (control_->hold) absl::SleepFor(absl::Milliseconds(1));
    ++control_->commits;
    const absl::Status status = store_->Commit();
    return control_->fail ? absl::UnavailableError("no answer") : status;
  }
  absl::Status Rollback() override { return store_->Rollback(); }
  absl::StatusOr<std::optional<Account>> FindAccount(absl::string_view p) override { return store_->FindAccount(p); }
  absl::StatusOr<std::vector<Account>> Accounts() override { return store_->Accounts(); }
  absl::Status PutAccount(absl::string_view p, std::optional<int64_t> limit, bool revoked) override {
    return store_->PutAccount(p, limit, revoked);
  }
  absl::StatusOr<std::optional<int64_t>> Spend(absl::string_view p, int64_t c) override { return store_->Spend(p, c); }
  absl::StatusOr<std::optional<StoredRequest>> FindRequest(absl::string_view p, absl::string_view id) override {
    return store_->FindRequest(p, id);
  }
  absl::Status PutRequest(absl::string_view p, absl::string_view id, const StoredRequest& request) override {
    return store_->PutRequest(p, id, request);
  }
  absl::Status PruneRequests(int64_t keep) override { return store_->PruneRequests(keep); }
  absl::StatusOr<bool> AddToken(const StoredToken& token) override { return store_->AddToken(token); }
  absl::StatusOr<bool> RevokeToken(absl::string_view id) override { return store_->RevokeToken(id); }
  absl::StatusOr<std::vector<StoredToken>> Tokens() override { return store_->Tokens(); }
  absl::StatusOr<absl::Time> Clock() override { return store_->Clock(); }
  absl::Status SetClock(absl::Time time) override { return store_->SetClock(time); }
  absl::Status RecordDatasetVersion(absl::string_view version, absl::Time time) override {
    return store_->RecordDatasetVersion(version, time);
  }

 private:
  const std::shared_ptr<Control> control_;
  std::unique_ptr<MemoryStore> store_ = std::make_unique<MemoryStore>();
};

template <typename Condition>
void Await(const Condition& condition) {
  while (!condition()) absl::SleepFor(absl::Milliseconds(1));
}

struct GroupCommitLedgerTest : testing::Test {
  GroupCommitLedgerTest() {
    GroupCommitOptions options;
    options.rules.epoch = "e";
    options.first_pause = absl::Milliseconds(1);
    options.longest_pause = absl::Milliseconds(20);
    ledger = GroupCommitLedger::Start(std::make_unique<ControlledStore>(control), nullptr, options).value();
    EXPECT_TRUE(ledger->SetLimit("alice", 1000).ok());
  }
  int64_t Spent() { return ledger->FindAccount("alice")->spent; }

  std::shared_ptr<Control> control = std::make_shared<Control>();
  std::unique_ptr<GroupCommitLedger> ledger;
};

// 64 callers that come while a commit is under way share the next one. Catches a sync for each caller.
TEST_F(GroupCommitLedgerTest, WaitingChargesShareOneCommit) {
  const int before = control->commits;
  control->hold = true;
  std::atomic<int> done{0};
  const auto charge = [&] {
    ledger->Charge(Piece("alice", "", 0, 1), [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
      ++done;
    });
  };
  charge();
  absl::SleepFor(absl::Milliseconds(20));  // the first is most likely on its own; if not, one commit less
  for (int i = 0; i < 64; ++i) charge();
  EXPECT_EQ(done, 0) << "answered before it was durable";
  control->hold = false;
  Await([&] { return done == 65; });
  EXPECT_LE(control->commits - before, 2);
  EXPECT_EQ(Spent(), 65);
}

TEST_F(GroupCommitLedgerTest, ConcurrentCallersSpendExactlyTheLimit) {
  std::atomic<int64_t> granted{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 300; ++k) {
        granted += ChargeNow(*ledger, Piece("alice", k % 3 == 0 ? absl::StrCat(i, "-", k) : "", 0, 1)).ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(granted, 1000);
  EXPECT_EQ(Spent(), 1000);
}

// Catches: an answer for a charge whose commit failed, service going on over a store in doubt, and a store that is not
// opened again. What the failed commit did stays spent, and is free for the named request that asks again.
TEST_F(GroupCommitLedgerTest, AnErrorRefusesEverythingUntilTheStoreIsOpenedAgain) {
  const int opens = control->opens;
  control->fail = true;
  control->unopenable = true;
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "id", 0, 7)), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
  EXPECT_FALSE(ledger->healthy());
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "", 0, 1)), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
  EXPECT_EQ(ErrorReason(ledger->FindAccount("alice").status()), "LEDGER_UNAVAILABLE");
  Await([&] { return control->opens >= opens + 3; });  // also without anybody asking
  EXPECT_FALSE(ledger->healthy());
  control->fail = false;
  control->unopenable = false;
  Await([&] { return ledger->healthy(); });
  EXPECT_EQ(Spent(), 7) << "charged, unanswered";
  EXPECT_TRUE(ChargeNow(*ledger, Piece("alice", "id", 0, 7)).ok());
  EXPECT_EQ(Spent(), 7);
}

// Catches: a standby that lagged, or a restored copy, taken for the ledger this process has been charging.
TEST_F(GroupCommitLedgerTest, ALedgerThatForgotIsNotUsed) {
  ASSERT_TRUE(ChargeNow(*ledger, Piece("alice", "", 0, 7)).ok());
  control->forgetful = true;
  control->fail = true;
  EXPECT_FALSE(ChargeNow(*ledger, Piece("alice", "", 0, 1)).ok());
  control->fail = false;
  const int opens = control->opens;
  Await([&] { return control->opens >= opens + 3; });
  EXPECT_FALSE(ledger->healthy());
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "", 0, 1)), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
}

TEST_F(GroupCommitLedgerTest, OwnersOperations) {
  EXPECT_EQ(ledger->FindAccount("alice")->limit, 1000);
  ExpectRefused(ledger->FindAccount("bob").status(), absl::StatusCode::kNotFound, "NO_ACCOUNT", "principal");
  ExpectRefused(ledger->FindAccount("").status(), absl::StatusCode::kNotFound, "NO_ACCOUNT", "principal");
  ExpectRefused(ledger->SetLimit("alice", -1), absl::StatusCode::kInvalidArgument, "LEDGER_LIMIT", "limit");
  ExpectRefused(ledger->SetLimit("", 1), absl::StatusCode::kInvalidArgument, "LEDGER_PRINCIPAL", "principal");
  ExpectRefused(ledger->Revoke("bob"), absl::StatusCode::kNotFound, "NO_ACCOUNT", "principal");
  ASSERT_TRUE(ChargeNow(*ledger, Piece("alice", "", 0, 5)).ok());
  ASSERT_TRUE(ledger->Revoke("alice").ok());
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "", 0, 1)), absl::StatusCode::kPermissionDenied, "ACCOUNT_REVOKED");
  ASSERT_TRUE(ledger->SetLimit("alice", 6).ok());
  EXPECT_EQ(Spent(), 5) << "deleted and made anew: the spending stays";
  ASSERT_TRUE(ledger->SetDatasetLimit(5).ok());
  EXPECT_EQ(ledger->DatasetAccount()->limit, 5);
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "", 0, 1)), absl::StatusCode::kResourceExhausted,
                "DATASET_BUDGET_EXHAUSTED");
  EXPECT_EQ(ledger->Accounts()->size(), 1U);
  const StoredToken token = {"t", "alice", Digest("t"), absl::UnixEpoch()};
  ASSERT_TRUE(ledger->AddToken(token).ok());
  ExpectRefused(ledger->AddToken(token), absl::StatusCode::kAlreadyExists, "TOKEN_EXISTS", "token");
  ASSERT_TRUE(ledger->RevokeToken("t").ok());
  ExpectRefused(ledger->RevokeToken("u"), absl::StatusCode::kNotFound, "TOKEN_NOT_FOUND", "token");
  EXPECT_TRUE(ledger->Tokens()->front().revoked);
  EXPECT_TRUE(ledger->healthy()) << "a refusal is no error of the store";
}

// A store whose clock is ahead of the machine's: time stands there, and never goes back.
TEST(LedgerClockTest, NeverGoesBack) {
  const absl::Time ahead = absl::FromUnixMicros(absl::ToUnixMicros(absl::Now() + absl::Hours(240)));
  auto store = std::make_unique<MemoryStore>();
  ASSERT_TRUE(store->SetClock(ahead).ok());
  ASSERT_TRUE(store->Commit().ok());
  const auto ledger = GroupCommitLedger::Start(std::move(store), nullptr, {}).value();
  EXPECT_EQ(ledger->Clock(), ahead);
  EXPECT_EQ(ledger->Clock(), ahead);
  const auto fresh = GroupCommitLedger::Start(std::make_unique<MemoryStore>(), nullptr, {}).value();
  const absl::Time before = absl::Now() - absl::Microseconds(1);
  EXPECT_GE(fresh->Clock(), before);
}

// What was asked before the end is done before the end.
TEST(LedgerEndTest, FinishesWhatWasAsked) {
  GroupCommitOptions options;
  options.rules.unlimited_principal = "p";
  auto ledger = GroupCommitLedger::Start(std::make_unique<MemoryStore>(), nullptr, options).value();
  std::atomic<int> done{0};
  for (int i = 0; i < 5000; ++i) {
    ledger->Charge(Piece("p", "", 0, 1), [&](const absl::Status& status) { done += status.ok(); });
  }
  ledger.reset();
  EXPECT_EQ(done, 5000);
}

}  // namespace
}  // namespace gradoracle
