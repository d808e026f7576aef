// What every store must do, said once: the same cases for memory, SQLite and PostgreSQL.
#include "server/ledger/ledger_store.h"

#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/charge_rules.h"
#include "tests/server/ledger/ledger_tests.h"
#include "tests/server/ledger/test_stores.h"

namespace gradoracle {
namespace {

using testing::ElementsAre;
using testing::Optional;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kExact = int64_t{1} << 53;

template <typename Place>
struct LedgerStoreTest : testing::Test {
  LedgerStoreTest() {
    store = place.Make();
    const absl::Status status = store->Open();
    EXPECT_TRUE(status.ok()) << status;
  }
  template <typename Work>
  void Transact(const Work& work) {
    ASSERT_TRUE(store->Begin().ok());
    work();
    const absl::Status status = store->Commit();
    ASSERT_TRUE(status.ok()) << status;
  }
  Account Find(const std::string& principal) {
    Account account;
    Transact([&] {
      const auto found = store->FindAccount(principal);
      ASSERT_TRUE(found.ok() && found->has_value()) << principal << " " << found.status();
      account = **found;
    });
    return account;
  }
  void Put(const std::string& principal, std::optional<int64_t> limit, bool revoked = false) {
    Transact([&] { ASSERT_TRUE(store->PutAccount(principal, limit, revoked).ok()); });
  }
  // nullopt: refused.
  std::optional<int64_t> Spend(const std::string& principal, int64_t cost) {
    std::optional<int64_t> spent;
    Transact([&] {
      const auto result = store->Spend(principal, cost);
      ASSERT_TRUE(result.ok()) << result.status();
      spent = *result;
    });
    return spent;
  }
  // Applies charges in one transaction.
  std::vector<ChargeOutcome> Apply(const std::vector<ChargeRequest>& requests, const ChargeRules& rules) {
    std::vector<ChargeOutcome> outcomes;
    Transact([&] {
      bool changed = false;
      auto result = ApplyCharges(requests, rules, *store, &changed);
      ASSERT_TRUE(result.ok()) << result.status();
      outcomes = *std::move(result);
    });
    return outcomes;
  }
  void Reopen() {
    store->Close();
    const absl::Status status = store->Open();
    ASSERT_TRUE(status.ok()) << status;
  }

  Place place;
  std::unique_ptr<LedgerStore> store;
};

TYPED_TEST_SUITE(LedgerStoreTest, StorePlaces, StorePlaceNames);

TYPED_TEST(LedgerStoreTest, BeginsWithTheDataSetAlone) {
  EXPECT_EQ(this->Find("").limit, std::nullopt);
  EXPECT_EQ(this->Find("").spent, 0);
  this->Transact([&] {
    EXPECT_TRUE(this->store->Accounts()->empty());
    EXPECT_TRUE(this->store->Tokens()->empty());
    EXPECT_EQ(*this->store->FindAccount("nobody"), std::nullopt);
    EXPECT_EQ(*this->store->FindRequest("nobody", "id"), std::nullopt);
  });
}

// Catches: spending beyond the limit by one, an account that lost its spending when its limit changed, a refund.
TYPED_TEST(LedgerStoreTest, SpendsUpToTheLimitAndNeverBack) {
  this->Put("alice", 10);
  EXPECT_THAT(this->Spend("alice", 9), Optional(9));
  EXPECT_EQ(this->Spend("alice", 2), std::nullopt);
  EXPECT_THAT(this->Spend("alice", 1), Optional(10));
  EXPECT_EQ(this->Spend("alice", 1), std::nullopt);
  EXPECT_EQ(this->Spend("alice", -1), std::nullopt);
  EXPECT_THAT(this->Spend("alice", 0), Optional(10));
  this->Put("alice", 12);
  EXPECT_EQ(this->Find("alice").spent, 10);
  EXPECT_THAT(this->Spend("alice", 2), Optional(12));
  this->Put("alice", 5);
  EXPECT_EQ(this->Find("alice").spent, 12) << "a lowered limit takes nothing back";
  EXPECT_EQ(this->Spend("alice", 1), std::nullopt);
  this->Put("alice", std::nullopt);
  EXPECT_THAT(this->Spend("alice", 1), Optional(13));
  EXPECT_EQ(this->Spend("nobody", 1), std::nullopt);
}

// Catches: the sum formed before it is compared (signed overflow), and numbers that went through a double.
TYPED_TEST(LedgerStoreTest, CountsToTheLastInteger) {
  this->Put("alice", std::nullopt);
  EXPECT_THAT(this->Spend("alice", kExact), Optional(kExact));
  EXPECT_THAT(this->Spend("alice", 1), Optional(kExact + 1));
  EXPECT_THAT(this->Spend("alice", kMost - kExact - 3), Optional(kMost - 2));
  EXPECT_EQ(this->Spend("alice", 3), std::nullopt);
  EXPECT_EQ(this->Spend("alice", kMost), std::nullopt);
  EXPECT_THAT(this->Spend("alice", 2), Optional(kMost));
  EXPECT_EQ(this->Spend("alice", 1), std::nullopt);
  this->Put("bob", kMost);
  EXPECT_EQ(this->Find("bob").limit, kMost);
  EXPECT_EQ(this->Find("alice").spent, kMost);
}

TYPED_TEST(LedgerStoreTest, RevokedAccountsKeepTheirSpendingAndSpendNothing) {
  this->Put("alice", 10);
  EXPECT_THAT(this->Spend("alice", 4), Optional(4));
  this->Put("alice", 10, true);
  EXPECT_EQ(this->Spend("alice", 1), std::nullopt);
  EXPECT_TRUE(this->Find("alice").revoked);
  this->Put("alice", 10, false);
  EXPECT_THAT(this->Spend("alice", 1), Optional(5));
}

// Catches: a transaction that stays half-way, or takes what came before it along.
TYPED_TEST(LedgerStoreTest, RollbackUndoesTheWholeTransaction) {
  this->Put("alice", 10);
  this->Transact([&] { ASSERT_TRUE(this->store->PutRequest("alice", "old", {Digest("x"), "e", 1}).ok()); });
  LedgerStore& rows = *this->store;
  ASSERT_TRUE(rows.Begin().ok());
  EXPECT_THAT(*rows.Spend("alice", 5), Optional(5));
  ASSERT_TRUE(rows.PutAccount("bob", 1, false).ok());
  ASSERT_TRUE(rows.PutAccount("alice", 99, true).ok());
  ASSERT_TRUE(rows.PutRequest("alice", "new", {Digest("x"), "e", 1}).ok());
  ASSERT_TRUE(rows.PutRequest("alice", "old", {Digest("x"), "e", 7}).ok());
  ASSERT_TRUE(rows.PruneRequests(1).ok());
  EXPECT_TRUE(*rows.AddToken({"t", "alice", Digest("t"), absl::UnixEpoch()}));
  ASSERT_TRUE(rows.SetClock(absl::FromUnixSeconds(99)).ok());
  ASSERT_TRUE(rows.Rollback().ok());
  const Account alice = this->Find("alice");
  EXPECT_EQ(alice.spent, 0);
  EXPECT_EQ(alice.limit, 10);
  EXPECT_FALSE(alice.revoked);
  this->Transact([&] {
    EXPECT_EQ(rows.Accounts()->size(), 1U);
    EXPECT_EQ(*rows.FindRequest("alice", "new"), std::nullopt);
    const auto old = *rows.FindRequest("alice", "old");
    ASSERT_TRUE(old.has_value());
    EXPECT_EQ(old->charged, 1);
    EXPECT_TRUE(rows.Tokens()->empty());
    EXPECT_LT(*rows.Clock(), absl::FromUnixSeconds(99));
  });
}

TYPED_TEST(LedgerStoreTest, KeepsEverythingOverReopening) {
  std::string digest("\0\xff'\"; --\n\t\123", 11);
  digest.resize(32, '4');
  const std::string name = "CN=Zo\xc3\xab O'Neil; --";
  this->Put(name, kMost - 1);
  EXPECT_THAT(this->Spend(name, 7), Optional(7));
  this->Put("", 1000);
  LedgerStore& rows = *this->store;
  const StoredToken token = {"id", name, Digest("secret"), absl::FromUnixMicros(1234567), absl::FromUnixSeconds(99)};
  const StoredToken eternal = {"id2", name, Digest("other"), absl::FromUnixMicros(7), absl::InfiniteFuture()};
  this->Transact([&] {
    ASSERT_TRUE(rows.PutRequest(name, "id'1", {digest, "epoch", 3}).ok());
    EXPECT_TRUE(*rows.AddToken(token));
    EXPECT_TRUE(*rows.AddToken(eternal));
    ASSERT_TRUE(rows.SetClock(absl::FromUnixSeconds(5)).ok());
    ASSERT_TRUE(rows.SetClock(absl::FromUnixSeconds(4)).ok());
    ASSERT_TRUE(rows.RecordDatasetVersion("v1", absl::FromUnixSeconds(5)).ok());
    ASSERT_TRUE(rows.RecordDatasetVersion("v1", absl::FromUnixSeconds(6)).ok());
  });
  this->Reopen();
  EXPECT_EQ(this->Find(name).limit, kMost - 1);
  EXPECT_EQ(this->Find(name).spent, 7);
  EXPECT_EQ(this->Find("").limit, 1000);
  this->Transact([&] {
    const auto request = *rows.FindRequest(name, "id'1");
    ASSERT_TRUE(request.has_value());
    EXPECT_EQ(request->digest, digest);
    EXPECT_EQ(request->epoch, "epoch");
    EXPECT_EQ(request->charged, 3);
    const auto tokens = *rows.Tokens();
    ASSERT_EQ(tokens.size(), 2U);
    EXPECT_EQ(tokens[0].id, "id");
    EXPECT_EQ(tokens[0].principal, name);
    EXPECT_EQ(tokens[0].sha256, token.sha256);
    EXPECT_EQ(tokens[0].created, token.created);
    EXPECT_EQ(tokens[0].expires, token.expires);
    EXPECT_EQ(tokens[1].expires, absl::InfiniteFuture());
    EXPECT_EQ(*rows.Clock(), absl::FromUnixSeconds(5));
  });
}

TYPED_TEST(LedgerStoreTest, TokensAreUniqueAndRevocable) {
  LedgerStore& rows = *this->store;
  this->Transact([&] {
    EXPECT_TRUE(*rows.AddToken({"a", "p", Digest("1"), absl::UnixEpoch()}));
    EXPECT_FALSE(*rows.AddToken({"a", "p", Digest("2"), absl::UnixEpoch()})) << "same id";
    EXPECT_FALSE(*rows.AddToken({"b", "p", Digest("1"), absl::UnixEpoch()})) << "same token";
    EXPECT_TRUE(*rows.RevokeToken("a"));
    EXPECT_TRUE(*rows.RevokeToken("a"));
    EXPECT_FALSE(*rows.RevokeToken("b"));
    EXPECT_EQ(rows.Tokens()->size(), 1U);
    EXPECT_TRUE(rows.Tokens()->front().revoked);
  });
}

TYPED_TEST(LedgerStoreTest, PrunesTheOldestRequests) {
  LedgerStore& rows = *this->store;
  this->Transact([&] {
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(rows.PutRequest("p", absl::StrCat(9 - i), {Digest("x"), "e", 1}).ok());
    }
    ASSERT_TRUE(rows.PutRequest("p", "9", {Digest("x"), "e", 2}).ok()) << "the oldest, again";
    ASSERT_TRUE(rows.PruneRequests(3).ok());
  });
  this->Transact([&] {
    for (int i = 0; i < 10; ++i) EXPECT_EQ(rows.FindRequest("p", absl::StrCat(i))->has_value(), i < 3) << i;
  });
}

// A random history against the simplest model of the rules: a map. Groups of any size, named and unnamed requests,
// limits that move, revocations, lost processes.
TYPED_TEST(LedgerStoreTest, RandomHistoriesFollowTheModel) {
  struct Model {
    std::map<std::string, Account> accounts;
    struct Named {
      std::string content;
      std::string epoch;
      int64_t charged = 0;
    };
    std::map<std::string, Named> requests;  // "principal/id"
    int64_t total = 0;
    std::optional<int64_t> cap;

    std::string Charge(const ChargeRequest& r, const std::string& content, const std::string& epoch) {
      if (accounts.count(r.principal) == 0) return "NO_ACCOUNT";
      Account& account = accounts[r.principal];
      if (account.revoked) return "ACCOUNT_REVOKED";
      int64_t cost = r.count;
      const std::string name = absl::StrCat(r.principal, "/", r.request_id);
      if (!r.request_id.empty() && requests.count(name) > 0) {
        const Named& named = requests[name];
        if (named.content != content) return "REQUEST_ID_REUSED";
        if (named.epoch != epoch) return "REQUEST_LOST";
        if (r.first > named.charged) return "FIRST_GRADIENT";
        cost = std::max<int64_t>(0, r.first + r.count - named.charged);
      } else if (r.first > 0) {
        return "REQUEST_LOST";
      }
      if (cost > 0 && account.limit.has_value() && account.spent + cost > *account.limit) return "BUDGET_EXHAUSTED";
      if (cost > 0 && cap.has_value() && total + cost > *cap) return "DATASET_BUDGET_EXHAUSTED";
      account.spent += cost;
      total += cost;
      if (!r.request_id.empty() && cost > 0) requests[name] = {content, epoch, r.first + r.count};
      return "";
    }
  };
  std::mt19937_64 random(20261123);
  const auto draw = [&](int64_t below) { return std::uniform_int_distribution<int64_t>(0, below - 1)(random); };
  Model model;
  ChargeRules rules;
  rules.epoch = "0";
  const auto principal = [&] { return absl::StrCat("p", draw(4)); };
  std::map<std::string, int> seen;
  for (int step = 0; step < 300; ++step) {
    switch (draw(6)) {
      case 0: {
        const std::string p = principal();
        const std::optional<int64_t> limit = draw(3) == 0 ? std::nullopt : std::optional<int64_t>(draw(400));
        const bool revoked = draw(8) == 0;
        this->Put(p, limit, revoked);
        model.accounts[p].limit = limit;
        model.accounts[p].revoked = revoked;
        break;
      }
      case 1:
        if (draw(10) == 0) rules.epoch = absl::StrCat(step);
        model.cap = draw(2) == 0 ? std::nullopt : std::optional<int64_t>(model.total + draw(200));
        this->Put("", model.cap);
        if (draw(5) == 0) this->Reopen();
        break;
      default: {
        std::vector<ChargeRequest> group;
        std::vector<std::string> expected;
        for (int64_t i = draw(12); i >= 0; --i) {
          const std::string id = draw(3) == 0 ? "" : absl::StrCat("id", draw(12));
          const std::string content = absl::StrCat("c", draw(8) == 0);
          group.push_back(Piece(principal(), id, draw(4) == 0 ? draw(20) : 0, 1 + draw(20), true, content));
          expected.push_back(model.Charge(group.back(), content, rules.epoch));
          ++seen[expected.back()];
        }
        const auto outcomes = this->Apply(group, rules);
        ASSERT_EQ(outcomes.size(), group.size());
        for (size_t i = 0; i < group.size(); ++i) {
          ASSERT_EQ(ErrorReason(outcomes[i].status).value_or(""), expected[i]) << "step " << step << ", " << i;
        }
      }
    }
    for (const auto& [name, account] : model.accounts) ASSERT_EQ(this->Find(name).spent, account.spent) << step;
    ASSERT_EQ(this->Find("").spent, model.total);
  }
  EXPECT_EQ(seen.size(), 8U) << "every outcome was met";
}

}  // namespace
}  // namespace gradoracle
