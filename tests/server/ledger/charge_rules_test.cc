#include "server/ledger/charge_rules.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/ledger/memory_store.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kExact = int64_t{1} << 53;

struct ChargeRulesTest : testing::Test {
  ChargeRulesTest() { rules.epoch = "this process"; }
  void Put(const std::string& principal, std::optional<int64_t> limit) {
    ASSERT_TRUE(store.PutAccount(principal, limit, false).ok());
  }
  std::vector<ChargeOutcome> Apply(const std::vector<ChargeRequest>& requests) {
    changed = false;
    return ApplyCharges(requests, rules, store, &changed).value();
  }
  ChargeOutcome Apply(const ChargeRequest& request) { return Apply(std::vector<ChargeRequest>{request}).front(); }
  int64_t Spent(const std::string& principal) { return (*store.FindAccount(principal))->spent; }

  MemoryStore store;
  ChargeRules rules;
  bool changed = false;
};

TEST_F(ChargeRulesTest, ChargesThePrincipalAndTheDataSet) {
  Put("alice", 10);
  Put("bob", std::nullopt);
  const auto outcomes = Apply({Piece("alice", "", 0, 3), Piece("bob", "x", 0, 4), Piece("alice", "y", 0, 5)});
  EXPECT_EQ(outcomes[0].cost, 3);
  EXPECT_EQ(outcomes[0].spent, 3);
  EXPECT_EQ(outcomes[1].spent, 4);
  EXPECT_EQ(outcomes[2].spent, 8);
  EXPECT_EQ(Spent("alice"), 8);
  EXPECT_EQ(Spent("bob"), 4);
  EXPECT_EQ(Spent(""), 12);
  EXPECT_TRUE(changed);
}

// Catches: a retry charged twice, or a resumption free beyond what was paid.
TEST_F(ChargeRulesTest, WhatIsChargedIsFreeForTheSameRequest) {
  Put("alice", 100);
  EXPECT_EQ(Apply(Piece("alice", "id", 0, 4)).cost, 4);
  EXPECT_EQ(Apply(Piece("alice", "id", 4, 4, false)).cost, 4);
  EXPECT_EQ(Apply(Piece("alice", "id", 0, 8)).cost, 0);
  EXPECT_FALSE(changed) << "nothing to commit";
  EXPECT_EQ(Apply(Piece("alice", "id", 6, 4)).cost, 2) << "resumed: two of four are new";
  EXPECT_EQ(Apply(Piece("alice", "id", 8, 1)).cost, 0);
  EXPECT_EQ(Spent("alice"), 10);
  const auto twice = Apply({Piece("alice", "two", 0, 5), Piece("alice", "two", 0, 5)});
  EXPECT_EQ(twice[0].cost + twice[1].cost, 5) << "in one group";
  EXPECT_EQ(Apply(Piece("alice", "", 0, 5)).cost + Apply(Piece("alice", "", 0, 5)).cost, 10) << "unnamed";
}

TEST_F(ChargeRulesTest, RetriesAreFreeWithAnExhaustedBudgetToo) {
  Put("alice", 5);
  EXPECT_TRUE(Apply(Piece("alice", "id", 0, 5)).status.ok());
  EXPECT_TRUE(Apply(Piece("alice", "id", 0, 5)).status.ok());
  Put("alice", 2);
  Put("", 3);
  EXPECT_TRUE(Apply(Piece("alice", "id", 0, 5)).status.ok());
  ExpectRefused(Apply(Piece("alice", "id", 0, 6)).status, absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED");
}

TEST_F(ChargeRulesTest, RefusalsOfRequestIds) {
  Put("alice", 100);
  Put("bob", 100);
  EXPECT_TRUE(Apply(Piece("alice", "id", 0, 4)).status.ok());
  constexpr auto kExists = absl::StatusCode::kAlreadyExists;
  ExpectRefused(Apply(Piece("alice", "id", 0, 4, true, "other")).status, kExists, "REQUEST_ID_REUSED", "request_id");
  ExpectRefused(Apply(Piece("alice", "id", 5, 1)).status, absl::StatusCode::kOutOfRange, "FIRST_GRADIENT",
                "first_gradient");
  ExpectRefused(Apply(Piece("alice", "unknown", 1, 1)).status, kExists, "REQUEST_LOST", "request_id");
  ExpectRefused(Apply(Piece("alice", "", 1, 1)).status, kExists, "REQUEST_LOST", "request_id");
  EXPECT_TRUE(Apply(Piece("bob", "id", 0, 4, true, "other")).status.ok()) << "ids belong to their principal";
  rules.epoch = "another process";
  ExpectRefused(Apply(Piece("alice", "id", 0, 4)).status, kExists, "REQUEST_LOST", "request_id");
  ExpectRefused(Apply(Piece("alice", "id", 4, 1)).status, kExists, "REQUEST_LOST", "request_id");
  ExpectRefused(Apply(Piece("alice", "id", 0, 4, true, "other")).status, kExists, "REQUEST_ID_REUSED", "request_id");
  EXPECT_EQ(Spent(""), 8);
}

// A piece whose row was forgotten while its stream went on is paid for alone, not once more from the beginning.
TEST_F(ChargeRulesTest, ForgottenRequestsGoOnAndGiveNothingAway) {
  Put("alice", 1000);
  rules.max_requests = 2;
  EXPECT_EQ(Apply(Piece("alice", "old", 0, 10)).cost, 10);
  for (int i = 0; i < 5; ++i) Apply(Piece("alice", absl::StrCat(i), 0, 1));
  EXPECT_EQ(Apply(Piece("alice", "old", 10, 5, false)).cost, 5);
  EXPECT_EQ(Apply(Piece("alice", "0", 0, 1)).cost, 1) << "asked again: charged again";
  ExpectRefused(Apply(Piece("alice", "1", 1, 1)).status, absl::StatusCode::kAlreadyExists, "REQUEST_LOST",
                "request_id");
}

// Catches: the first chunks of a request that the budget does not pay for, charged and drawn before it is refused; and
// a resumption refused although what it lost on the way is paid for.
TEST_F(ChargeRulesTest, ARequestBeyondTheBudgetIsRefusedWhole) {
  Put("alice", 10);
  ChargeRequest piece = Piece("alice", "id", 0, 4);
  piece.total = 11;
  const ChargeOutcome refused = Apply(piece);
  ExpectRefused(refused.status, absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED");
  EXPECT_EQ(ErrorQuota(refused.status), (Quota{10, 0, 11, 10}));
  EXPECT_EQ(Spent("alice"), 0);
  piece.total = 10;
  EXPECT_EQ(Apply(piece).cost, 4) << "only the piece is charged";
  Put("alice", 4);
  EXPECT_TRUE(Apply(piece).status.ok()) << "paid for, whatever is left";
  ExpectRefused(Apply(Piece("alice", "id", 4, 4, false)).status, absl::StatusCode::kResourceExhausted,
                "BUDGET_EXHAUSTED");
  Put("", 5);
  Put("bob", 100);
  ChargeRequest other = Piece("bob", "", 0, 1);
  other.total = 2;
  ExpectRefused(Apply(other).status, absl::StatusCode::kResourceExhausted, "DATASET_BUDGET_EXHAUSTED");
}

TEST_F(ChargeRulesTest, QuotaTellsTheNumbers) {
  Put("alice", 10);
  EXPECT_TRUE(Apply(Piece("alice", "", 0, 7)).status.ok());
  const absl::Status refused = Apply(Piece("alice", "", 0, 4)).status;
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED");
  EXPECT_EQ(ErrorQuota(refused), (Quota{10, 7, 4, 3}));
  Put("alice", 5);
  EXPECT_EQ(ErrorQuota(Apply(Piece("alice", "", 0, 4)).status), (Quota{5, 7, 4, 0}));
  EXPECT_TRUE(Apply(Piece("alice", "", 0, 4)).cost == 0 && !changed);
}

TEST_F(ChargeRulesTest, TheDataSetsCapHoldsForAllTogether) {
  Put("", 10);
  for (const char* principal : {"a", "b", "c", "d"}) Put(principal, 4);
  int64_t answered = 0;
  for (int round = 0; round < 4; ++round) {
    for (const char* principal : {"a", "b", "c", "d"}) answered += Apply(Piece(principal, "", 0, 1)).cost;
  }
  EXPECT_EQ(answered, 10);
  EXPECT_EQ(Spent(""), 10);
  const absl::Status refused = Apply(Piece("d", "", 0, 1)).status;
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "DATASET_BUDGET_EXHAUSTED");
  EXPECT_EQ(ErrorQuota(refused), (Quota{10, 10, 1, 0}));
}

TEST_F(ChargeRulesTest, AccountsAreMadeOnlyAsTheRulesSay) {
  ExpectRefused(Apply(Piece("alice", "", 0, 1)).status, absl::StatusCode::kPermissionDenied, "NO_ACCOUNT");
  rules.unlimited_principal = "anonymous";
  ExpectRefused(Apply(Piece("alice", "", 0, 1)).status, absl::StatusCode::kPermissionDenied, "NO_ACCOUNT");
  EXPECT_TRUE(Apply(Piece("anonymous", "", 0, 1000)).status.ok());
  EXPECT_EQ((*store.FindAccount("anonymous"))->limit, std::nullopt);
  rules.default_limit = 5;
  EXPECT_TRUE(Apply(Piece("alice", "", 0, 5)).status.ok());
  EXPECT_EQ((*store.FindAccount("alice"))->limit, 5);
  ExpectRefused(Apply(Piece("bob", "", 0, 6)).status, absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED");
  EXPECT_EQ(*store.FindAccount("bob"), std::nullopt) << "a refused charge leaves nothing";
  ASSERT_TRUE(store.PutAccount("alice", 100, true).ok());
  ExpectRefused(Apply(Piece("alice", "", 0, 1)).status, absl::StatusCode::kPermissionDenied, "ACCOUNT_REVOKED");
}

// Costs of 0, -1 and beyond 2^53, and sums at the end of the integers: refused, never wrapped.
TEST_F(ChargeRulesTest, EdgesOfTheIntegers) {
  Put("alice", std::nullopt);
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  for (const auto& [first, count] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 0},
                                                {0, -1},
                                                {-1, 1},
                                                {0, kExact + 1},
                                                {0, kMost},
                                                {1, kExact},
                                                {kExact, 1},
                                                {kMost, 1},
                                                {kMost, kMost},
                                                {std::numeric_limits<int64_t>::min(), 1},
                                                {0, std::numeric_limits<int64_t>::min()}}) {
    ExpectRefused(Apply(Piece("alice", "", first, count)).status, kInvalid, "LEDGER_CHARGE");
  }
  ExpectRefused(Apply(Piece("", "", 0, 1)).status, kInvalid, "LEDGER_CHARGE");
  EXPECT_EQ(Apply(Piece("alice", "", 0, kExact)).cost, kExact);
  EXPECT_EQ(Apply(Piece("alice", "", 0, 1)).spent, kExact + 1);
  EXPECT_EQ(*store.Spend("alice", kMost - 2 - (kExact + 1)), kMost - 2);
  const absl::Status refused = Apply(Piece("alice", "", 0, 3)).status;
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "BUDGET_EXHAUSTED");
  EXPECT_EQ(ErrorQuota(refused), (Quota{kMost, kMost - 2, 3, 2}));
  EXPECT_TRUE(Apply(Piece("alice", "", 0, 2)).status.ok());
  EXPECT_EQ(Spent("alice"), kMost);
}

// Catches: a floor for each caller alone, so that two could pool; a last gradient too many; retries refused.
TEST_F(ChargeRulesTest, TheCurvatureFloorIsForAllTogether) {
  rules.curvature_floor = 10;
  Put("alice", 100);
  Put("bob", std::nullopt);
  EXPECT_TRUE(Apply(Piece("alice", "id", 0, 6)).status.ok());
  const absl::Status refused = Apply(Piece("bob", "", 0, 5)).status;
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "CURVATURE_FLOOR", "count");
  EXPECT_EQ(*ErrorQuota(refused), (Quota{10, 6, 5, 4}));
  EXPECT_TRUE(Apply(Piece("bob", "", 0, 4)).status.ok());
  EXPECT_TRUE(Apply(Piece("alice", "id", 0, 6)).status.ok()) << "paid for";
  EXPECT_EQ(Spent(""), 10);
}

ChargeRequest Uses(ChargeRequest request, int64_t participations) {
  request.participations = participations;
  return request;
}

// Catches: uses charged with every piece, or again for a retry; counted for each caller alone; charged by a refusal;
// an account of uses that spoils the sum in gradients.
TEST_F(ChargeRulesTest, RowUsesAreCountedOnceForEachRequest) {
  rules.max_participation = 5;
  Put("alice", 100);
  Put("bob", std::nullopt);
  const auto uses = [&] { return Spent(std::string(kParticipationAccount)); };
  EXPECT_TRUE(Apply(Uses(Piece("alice", "id", 0, 6), 3)).status.ok());
  EXPECT_EQ(uses(), 3);
  EXPECT_TRUE(Apply(Uses(Piece("alice", "id", 6, 6, false), 3)).status.ok()) << "its next piece";
  EXPECT_TRUE(Apply(Uses(Piece("alice", "id", 0, 12), 3)).status.ok()) << "a retry";
  EXPECT_EQ(uses(), 3);
  const absl::Status refused = Apply(Uses(Piece("bob", "", 0, 1), 3)).status;
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "PARTICIPATION_EXHAUSTED", "count");
  EXPECT_EQ(*ErrorQuota(refused), (Quota{5, 3, 3, 2}));
  EXPECT_EQ(uses(), 3);
  const auto pair = Apply({Uses(Piece("bob", "", 0, 1), 2), Uses(Piece("alice", "", 0, 1), 1)});
  EXPECT_TRUE(pair[0].status.ok());
  EXPECT_FALSE(pair[1].status.ok()) << "in one group too";
  EXPECT_EQ(uses(), 5);
  EXPECT_EQ(Spent(""), Spent("alice") + Spent("bob"));
}

// Catches: a cap, and the epsilon printed with it, that forgets what was answered while there was none; a sum of uses
// that runs over.
TEST_F(ChargeRulesTest, RowUsesAreCountedWithoutACapToo) {
  Put("alice", std::nullopt);
  const auto uses = [&] { return Spent(std::string(kParticipationAccount)); };
  ASSERT_TRUE(store.Spend("", 7)->has_value());  // as a ledger has it that never counted uses
  EXPECT_TRUE(Apply(Uses(Piece("alice", "", 0, 6), 3)).status.ok());
  EXPECT_EQ(uses(), 10);
  rules.max_participation = 12;
  const absl::Status refused = Apply(Uses(Piece("alice", "", 0, 6), 3)).status;
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "PARTICIPATION_EXHAUSTED", "count");
  EXPECT_EQ(*ErrorQuota(refused), (Quota{12, 10, 3, 2}));
  rules.max_participation.reset();
  const auto three = Apply({Uses(Piece("alice", "", 0, 6), kMost - 1), Uses(Piece("alice", "", 0, 6), kMost - 1),
                            Uses(Piece("alice", "", 0, 6), 1)});
  for (const ChargeOutcome& outcome : three) EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(uses(), kMost);
}

}  // namespace
}  // namespace gradoracle
