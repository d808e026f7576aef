#include "server/ledger/postgresql_store.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/ledger/open_ledger.h"
#include "tests/server/ledger/ledger_tests.h"
#include "tests/server/ledger/postgresql_server.h"

namespace gradoracle {
namespace {

struct PostgresqlStoreTest : testing::Test {
  LedgerOptions Options() const {
    LedgerOptions options;
    options.location = url;
    return options;
  }
  PostgresqlServer& server = PostgresqlServer::Get();
  const std::string url = server.NewDatabase();
};

// Three servers, each with its own connection and groups, on one account: exactly the limit is granted, and no
// deadlock.
TEST_F(PostgresqlStoreTest, ServersShareOneBudget) {
  std::vector<std::unique_ptr<Ledger>> ledgers;
  for (int i = 0; i < 3; ++i) ledgers.push_back(OpenLedger(Options()).value());
  ASSERT_TRUE(ledgers[0]->SetLimit("alice", 500).ok());
  ASSERT_TRUE(ledgers[1]->SetLimit("bob", 100).ok());
  std::atomic<int64_t> alice{0};
  std::atomic<int64_t> bob{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 9; ++i) {
    threads.emplace_back([&, i] {
      Ledger& ledger = *ledgers[static_cast<size_t>(i) % 3];
      for (int k = 0; k < 100; ++k) {
        const std::string id = k % 4 == 0 ? absl::StrCat(i, "-", k) : "";
        alice += ChargeNow(ledger, Piece("alice", id, 0, 1)).ok();
        bob += ChargeNow(ledger, Piece("bob", id, 0, 1)).ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(alice, 500);
  EXPECT_EQ(bob, 100);
  for (const auto& ledger : ledgers) {
    EXPECT_EQ(ledger->DatasetAccount()->spent, 600);
    EXPECT_TRUE(ledger->healthy());
  }
}

TEST_F(PostgresqlStoreTest, ARequestBelongsToTheServerThatBeganIt) {
  const auto one = OpenLedger(Options()).value();
  const auto other = OpenLedger(Options()).value();
  ASSERT_TRUE(one->SetLimit("alice", 10).ok());
  ASSERT_TRUE(ChargeNow(*one, Piece("alice", "id", 0, 2)).ok());
  ExpectRefused(ChargeNow(*other, Piece("alice", "id", 0, 2)), absl::StatusCode::kAlreadyExists, "REQUEST_LOST",
                "request_id");
  EXPECT_TRUE(ChargeNow(*one, Piece("alice", "id", 0, 2)).ok());
}

TEST_F(PostgresqlStoreTest, RefusesAServerThatWouldNotKeepALedger) {
  const auto expect_unfit = [&](const std::string& setting, const std::string& says) {
    server.Sql(url, absl::StrCat("ALTER ROLE owner SET ", setting));
    const absl::Status status = PostgresqlStore(url).Open();
    server.Sql(url, "ALTER ROLE owner RESET ALL");
    EXPECT_FALSE(status.ok()) << setting;
    EXPECT_TRUE(absl::StrContains(status.message(), says)) << status;
  };
  expect_unfit("synchronous_commit = off", "synchronous_commit is off");
  expect_unfit("synchronous_commit = local", "synchronous_commit is local");
  EXPECT_TRUE(PostgresqlStore(url).Open().ok());
  ExpectRefused(PostgresqlStore(server.Url("nothing_here")).Open(), absl::StatusCode::kUnavailable,
                "LEDGER_UNAVAILABLE", "ledger");
}

// Catches: a connection that is gone taken for a ledger that is gone for good.
TEST_F(PostgresqlStoreTest, ReconnectsAfterItsConnectionWasCut) {
  const auto ledger = OpenLedger(Options()).value();
  ASSERT_TRUE(ledger->SetLimit("alice", 10).ok());
  server.Sql(server.Url("postgres"),
             "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gradoracle-server'");
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "id", 0, 2)), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
  while (!ledger->healthy()) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE(ChargeNow(*ledger, Piece("alice", "id", 0, 2)).ok());
  EXPECT_EQ(ledger->FindAccount("alice")->spent, 2);
}

// The rules hold for other programs too.
TEST_F(PostgresqlStoreTest, TheSchemaRefusesWhatBreaksTheRules) {
  { ASSERT_TRUE(OpenLedger(Options()).value()->SetLimit("alice", 10).ok()); }
  PostgresqlStore store(url);
  ASSERT_TRUE(store.Open().ok());
  server.Sql(url, "UPDATE gradoracle_account SET spent = 5 WHERE principal = 'alice'");
  for (const char* sql : {"UPDATE gradoracle_account SET spent = 4 WHERE principal = 'alice'",
                          "UPDATE gradoracle_account SET spent = 11 WHERE principal = 'alice'",
                          "DELETE FROM gradoracle_account WHERE principal = 'alice'"}) {
    server.Sql(url, absl::StrCat("DO \\$\\$ BEGIN BEGIN ", sql,
                                 "; EXCEPTION WHEN raise_exception THEN RETURN; END; RAISE 'not refused'; END \\$\\$"));
  }
  EXPECT_EQ(ErrorReason(OpenLedger(Options()).status()).value_or(""), "LEDGER_CORRUPT")
      << "accounts and their sum contradict each other";
}

}  // namespace
}  // namespace gradoracle
