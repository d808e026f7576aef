// The ledger in SQLite on a disk that loses its power (threats 13): what was acknowledged is there afterwards.
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/ledger/group_commit_ledger.h"
#include "server/ledger/sqlite_store.h"
#include "tests/server/ledger/crash_disk.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {
namespace {

constexpr int kCharges = 60;

absl::StatusOr<std::unique_ptr<GroupCommitLedger>> OpenLedgerIn(const std::string& folder) {
  GroupCommitOptions options;
  options.rules.epoch = "epoch";
  options.rules.unlimited_principal = "alice";
  options.rules.max_requests = 40;
  options.first_pause = absl::Hours(1);  // a machine without power does not come back by itself
  return GroupCommitLedger::Start(std::make_unique<SqliteStore>(absl::StrCat(folder, "/ledger.db")), nullptr, options);
}

// What one life of the machine was asked to charge, and what it said it had.
struct Life {
  int64_t asked = 0;
  int64_t acknowledged = 0;
};

// Charges until the power fails, or to the end, closing included. `name` makes request ids of this life its own.
Life Live(const std::string& folder, const std::string& name, std::mt19937_64& generator) {
  Life life;
  const auto ledger = OpenLedgerIn(folder);
  if (!ledger.ok()) return life;
  for (int i = 0; i < kCharges; ++i) {
    const auto count = static_cast<int64_t>(1 + generator() % 1000);
    const std::string id = generator() % 2 == 0 ? absl::StrCat(name, "-", i) : "";
    life.asked += count;
    if (!ChargeNow(**ledger, Piece("alice", id, 0, count)).ok()) break;
    life.acknowledged += count;
  }
  return life;
}

// Operations of the disk in a whole life, from an empty folder.
int64_t OperationsOfALife() {
  CrashDisk::Get().SwitchOn();
  const TemporaryFolder folder;
  std::mt19937_64 generator(1);
  const Life life = Live(folder / ".", "whole", generator);
  EXPECT_EQ(life.asked, life.acknowledged);
  return CrashDisk::Get().operations();
}

struct Cuts {
  int all = 0;
  int in_checkpoint = 0;
  int before_any_charge = 0;
  int unusable = 0;         // the ledger could not be opened afterwards
  int forgot = 0;           // it knew of less than was acknowledged
  int of_nobody_asked = 0;  // of more than anybody had asked for
};

// `machines` machines, each of which loses its power `lives` times, anywhere.
Cuts CutPower(int machines, int lives, bool lies) {
  const int64_t operations = OperationsOfALife();
  CrashDisk& disk = CrashDisk::Get();
  Cuts cuts;
  for (int machine = 0; machine < machines; ++machine) {
    std::mt19937_64 generator(static_cast<uint64_t>(1000 + machine));
    auto folder = std::make_unique<TemporaryFolder>();
    Life sum;
    for (int life = 0; life < lives; ++life) {
      disk.SwitchOn(static_cast<int64_t>(generator() % static_cast<uint64_t>(operations)), lies);
      const Life lived = Live(*folder / ".", absl::StrCat(life), generator);
      sum.asked += lived.asked;
      sum.acknowledged += lived.acknowledged;
      ++cuts.all;
      cuts.in_checkpoint += disk.in_checkpoint() ? 1 : 0;
      cuts.before_any_charge += lived.asked == 0 ? 1 : 0;
      auto next = std::make_unique<TemporaryFolder>();
      disk.Recover(*next / ".", generator);
      folder = std::move(next);
      disk.SwitchOn();
      const auto ledger = OpenLedgerIn(*folder / ".");  // checks the file, and that its sums agree
      const auto dataset = ledger.ok() ? (*ledger)->DatasetAccount() : ledger.status();
      if (!dataset.ok()) {
        ++cuts.unusable;
        break;
      }
      const int64_t spent = dataset->spent;
      cuts.forgot += spent < sum.acknowledged ? 1 : 0;
      cuts.of_nobody_asked += spent > sum.asked ? 1 : 0;
      sum = {spent, spent};  // what is there now stays there
    }
  }
  return cuts;
}

// Would catch: an acknowledgement before the sync, synchronous=NORMAL, a checkpoint that is not synced before the log
// is used again, a file whose name is not on the disk.
TEST(PowerCutTest, WhatWasAcknowledgedIsThereAfterwards) {
  const Cuts cuts = CutPower(/*machines=*/45, /*lives=*/5, /*lies=*/false);
  EXPECT_EQ(cuts.all, 225);
  EXPECT_EQ(cuts.unusable, 0);
  EXPECT_EQ(cuts.forgot, 0);
  EXPECT_EQ(cuts.of_nobody_asked, 0);
  // The cuts were where it hurts, too.
  EXPECT_GT(cuts.in_checkpoint, 0);
  EXPECT_GT(cuts.before_any_charge, 0);
}

// The same over a disk that only says it had synced: shows that the test above sees lost charges when there are any.
TEST(PowerCutTest, ADiskThatLiesLosesCharges) {
  const Cuts cuts = CutPower(/*machines=*/20, /*lives=*/1, /*lies=*/true);
  EXPECT_GT(cuts.forgot + cuts.unusable, 5);
}

// Would catch: an answer while its charge is in the machine's memory only.
TEST(PowerCutTest, AChargeIsSyncedBeforeAnybodyIsTold) {
  CrashDisk& disk = CrashDisk::Get();
  disk.SwitchOn();
  const TemporaryFolder folder;
  auto ledger = OpenLedgerIn(folder / ".").value();
  for (int i = 0; i < 100; ++i) {
    const int64_t syncs = disk.syncs();
    std::promise<void> told;
    ledger->Charge(Piece("alice", "", 0, 1), [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_GT(disk.syncs(), syncs);
      EXPECT_EQ(disk.unsynced_log_bytes(), 0);
      told.set_value();
    });
    told.get_future().get();
  }
}

}  // namespace
}  // namespace gradoracle
