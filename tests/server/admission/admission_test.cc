#include "server/admission/admission.h"

#include <array>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "gtest/gtest.h"
#include "server/ledger/open_ledger.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {
namespace {

OracleInfo Info() {
  OracleInfo info;
  info.dimension = 2;
  info.row_count = 100;
  info.limits.max_batch_size = 100;
  info.dataset_version = "v1";
  return info;
}

OracleInfo ShuffledInfo() {
  OracleInfo info = Info();
  info.sampling = Sampling::kShuffledEpochs;
  return info;
}

ProcessSecret Secret() {
  std::array<uint8_t, 32> bytes{};
  return ProcessSecret(bytes);
}

GradientQuery Query(const std::string& request_id, int64_t count = 10) {
  GradientQuery query;
  query.weights = Eigen::Vector2d(1, 2);
  query.batch_size = 32;
  query.count = count;
  query.request_id = request_id;
  return query;
}

// Charges and waits.
absl::Status Charge(AdmittedQuery& admitted, int64_t first, int64_t count) {
  std::promise<absl::Status> result;
  admitted.Charge(first, count, [&](const absl::Status& status) { result.set_value(status); });
  return result.get_future().get();
}

struct AdmissionTest : testing::Test {
  explicit AdmissionTest(const AdmissionOptions& options = {}) : admission(Info(), Secret(), ledger.get(), options) {}
  int64_t charged() { return ledger->DatasetAccount()->spent; }
  absl::StatusOr<std::unique_ptr<AdmittedQuery>> Admit(const GradientQuery& query, int64_t first_gradient = 0) {
    return admission.Admit("anonymous", query, first_gradient);
  }
  const std::unique_ptr<Ledger> ledger = OpenLedger({.default_limit = 1'000'000}).value();
  Admission admission;
};

TEST_F(AdmissionTest, EverybodyIsAnonymous) {
  EXPECT_EQ(*admission.Identify(CallerCredentials()), "anonymous");
  EXPECT_EQ(*admission.Identify({.authorization_count = 1, .authorization = "Bearer x"}), "anonymous");
}

TEST_F(AdmissionTest, RefusesWhatThePolicyRefusesBeforeAnythingElse) {
  GradientQuery query = Query("id");
  query.batch_size = 31;
  ExpectRefused(Admit(query).status(), absl::StatusCode::kOutOfRange, "BATCH_SIZE_TOO_SMALL", "batch_size");
  EXPECT_EQ(admission.queries_in_flight(), 0);
  EXPECT_TRUE(Admit(Query("id")).ok()) << "a refused query must not occupy its id";
}

// Key of a retry is the key of the request; everything else gets another: shared noise would cancel in a difference.
TEST_F(AdmissionTest, KeysBelongToPrincipalIdAndContent) {
  const RequestKey key = (*Admit(Query("id")))->key();
  EXPECT_EQ((*Admit(Query("id")))->key(), key);
  auto begun = *Admit(Query("id"));
  ASSERT_TRUE(Charge(*begun, 0, 9).ok());
  EXPECT_EQ((*Admit(Query("id"), 9))->key(), key) << "resumed";
  EXPECT_NE((*Admit(Query("other")))->key(), key);
  EXPECT_NE((*admission.Admit("somebody", Query("id"), 0))->key(), key);
  EXPECT_NE((*Admit(Query("")))->key(), (*Admit(Query("")))->key()) << "unnamed requests are all different";
}

// The rules themselves are the ledger's (charge_rules_test.cc); here: that each call begins with its first charge, and
// that principal, id and content reach it.
TEST_F(AdmissionTest, FirstChargeOfACallDecidesAboutItsId) {
  const auto first = *Admit(Query("id"));
  ASSERT_TRUE(Charge(*first, 0, 4).ok());
  GradientQuery other = Query("id");
  other.batch_size = 33;
  const auto reused = *Admit(other);
  ExpectRefused(Charge(*reused, 0, 1), absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED", "request_id");
  const auto somebody = *admission.Admit("somebody", other, 0);
  EXPECT_TRUE(Charge(*somebody, 0, 1).ok()) << "ids belong to their principal";
  const auto beyond = *Admit(Query("id"), 5);
  ExpectRefused(Charge(*beyond, 5, 1), absl::StatusCode::kOutOfRange, "FIRST_GRADIENT", "first_gradient");
  const auto resumed = *Admit(Query("id"), 4);
  EXPECT_TRUE(Charge(*resumed, 4, 1).ok());
  EXPECT_TRUE(Charge(*resumed, 5, 1).ok());
  const auto lost = *Admit(Query("unknown"), 1);
  ExpectRefused(Charge(*lost, 1, 1), absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id");
  const auto unnamed = *Admit(Query(""), 1);
  ExpectRefused(Charge(*unnamed, 1, 1), absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id");
  EXPECT_EQ(charged(), 7);
}

TEST_F(AdmissionTest, ResumptionsStayWithinTheRequest) {
  ExpectRefused(Admit(Query("id"), 10).status(), absl::StatusCode::kOutOfRange, "FIRST_GRADIENT", "first_gradient");
  ExpectRefused(Admit(Query("id"), -1).status(), absl::StatusCode::kOutOfRange, "FIRST_GRADIENT", "first_gradient");
  EXPECT_EQ(admission.queries_in_flight(), 0) << "a refused query kept its place";
}

// The ledger's rule: what is computed is charged first and once; retries and resumptions are free.
TEST_F(AdmissionTest, ChargesEachGradientOfANamedRequestOnce) {
  auto first = *Admit(Query("id"));
  EXPECT_TRUE(Charge(*first, 0, 4).ok());
  EXPECT_EQ(charged(), 4);
  EXPECT_TRUE(Charge(*first, 4, 2).ok());
  auto retry = *Admit(Query("id"));
  EXPECT_TRUE(Charge(*retry, 0, 5).ok());
  EXPECT_EQ(charged(), 6);
  EXPECT_TRUE(Charge(*retry, 5, 5).ok());
  EXPECT_EQ(charged(), 10);
  auto unnamed = *Admit(Query(""));
  EXPECT_TRUE(Charge(*unnamed, 0, 10).ok());
  auto another = *Admit(Query(""));
  EXPECT_TRUE(Charge(*another, 0, 10).ok());
  EXPECT_EQ(charged(), 30);
}

// Concurrent answers to one named request.
TEST_F(AdmissionTest, ConcurrentRetriesAreChargedOnce) {
  constexpr int kThreads = 8;
  constexpr int kCount = 1'000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto admitted = *Admit(Query("id", kCount));
      for (int k = 0; k < kCount; ++k) EXPECT_TRUE(Charge(*admitted, k, 1).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(charged(), kCount);
  EXPECT_EQ(admission.queries_in_flight(), 0);
}

struct SmallAdmissionTest : AdmissionTest {
  SmallAdmissionTest() : AdmissionTest({.max_concurrent_queries = 2}) {}
};

TEST_F(SmallAdmissionTest, BoundsConcurrentQueries) {
  auto a = Admit(Query("a"));
  auto b = Admit(Query("b"));
  ASSERT_TRUE(a.ok() && b.ok());
  ExpectRefused(Admit(Query("c")).status(), absl::StatusCode::kResourceExhausted, "TOO_MANY_QUERIES", "");
  a->reset();
  EXPECT_TRUE(Admit(Query("c")).ok()) << "a finished query must give its place back";
}

// Catches: large batches from many callers growing memory without bound; a single large one refused for ever.
TEST(AdmissionMemoryTest, BoundsTheMemoryOfAnswersButForOneAlone) {
  const double one = AnswerBytes(Query(""), Info());
  const std::unique_ptr<Ledger> ledger = OpenLedger({}).value();
  Admission admission(Info(), Secret(), ledger.get(), {.max_answer_bytes = 2.5 * one});
  auto a = admission.Admit("anonymous", Query(""), 0);
  auto b = admission.Admit("anonymous", Query(""), 0);
  ASSERT_TRUE(a.ok() && b.ok());
  ExpectRefused(admission.Admit("anonymous", Query(""), 0).status(), absl::StatusCode::kResourceExhausted,
                "TOO_MANY_QUERIES", "");
  a->reset();
  EXPECT_TRUE(admission.Admit("anonymous", Query(""), 0).ok());
  Admission tiny(Info(), Secret(), ledger.get(), {.max_answer_bytes = 1});
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(tiny.Admit("anonymous", Query(""), 0).ok()) << "alone";
}

// Catches: a grid that is told but not kept; a key by caller or request id, with which an answer asked again is
// another; one key for two points or two batch sizes, with which their difference would be free of noise; the norm
// checked before rounding, which can carry weights over the limit; retries by name no longer free.
TEST(AdmissionGridTest, AnswersAreThoseOfTheNearestPoint) {
  const std::unique_ptr<Ledger> ledger = OpenLedger({.default_limit = 1'000'000}).value();
  AdmissionOptions options;
  options.defence.weights_grid = 0.5;
  Admission admission(Info(), Secret(), ledger.get(), options);
  const auto at = [](double first, double second, const std::string& request_id = "") {
    GradientQuery query = Query(request_id);
    query.weights = Eigen::Vector2d(first, second);
    return query;
  };
  const auto reference = *admission.Admit("alice", at(1, 2), 0);
  EXPECT_EQ(reference->query().weights, Eigen::Vector2d(1, 2));
  const auto near = *admission.Admit("bob", at(1.2, 1.8, "id"), 0);
  EXPECT_EQ(near->query().weights, Eigen::Vector2d(1, 2));
  EXPECT_TRUE(near->key() == reference->key());
  EXPECT_FALSE((*admission.Admit("alice", at(1.3, 2), 0))->key() == reference->key());
  GradientQuery larger = at(1, 2);
  larger.batch_size = 33;
  EXPECT_FALSE((*admission.Admit("alice", larger, 0))->key() == reference->key());
  ASSERT_EQ(Info().limits.max_weights_norm, 100);
  ExpectRefused(admission.Admit("alice", at(99.8, 5.3), 0).status(), absl::StatusCode::kOutOfRange, "WEIGHTS_NORM",
                "weights");  // 99.94, rounded to 100.15
  EXPECT_TRUE(Charge(*near, 0, 10).ok());
  EXPECT_TRUE(Charge(**admission.Admit("bob", at(0.9, 2.1, "id"), 0), 0, 10).ok());
  EXPECT_EQ(ledger->DatasetAccount()->spent, 10) << "the same request by its name";
}

// Catches: a cap that never reaches the ledger, or counts gradients in place of epochs begun: 3 batches of 32 are an
// epoch of 100 rows, so 7 gradients begin 3.
TEST(AdmissionParticipationTest, ARequestCostsTheEpochsItBegins) {
  const std::unique_ptr<Ledger> ledger = OpenLedger({.default_limit = 1'000'000, .max_participation = 5}).value();
  AdmissionOptions options;
  options.defence.max_participation = 5;
  Admission admission(ShuffledInfo(), Secret(), ledger.get(), options);
  EXPECT_TRUE(Charge(**admission.Admit("alice", Query("", 7), 0), 0, 7).ok());
  const absl::Status refused = Charge(**admission.Admit("bob", Query("", 7), 0), 0, 7);
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "PARTICIPATION_EXHAUSTED", "count");
  EXPECT_EQ(*ErrorQuota(refused), (Quota{5, 3, 3, 2}));
  EXPECT_TRUE(Charge(**admission.Admit("bob", Query("", 6), 0), 0, 6).ok());
}

// Catches: a cap set later that counts from then on.
TEST(AdmissionParticipationTest, UsesAreCountedWithoutACap) {
  const TemporaryFolder folder;
  LedgerOptions ledger_options = {.location = "sqlite:" + (folder / "ledger.db"), .default_limit = 1'000'000};
  {
    const std::unique_ptr<Ledger> ledger = OpenLedger(ledger_options).value();
    Admission admission(ShuffledInfo(), Secret(), ledger.get(), {});
    EXPECT_TRUE(Charge(**admission.Admit("alice", Query("", 7), 0), 0, 7).ok());
  }
  ledger_options.max_participation = 5;
  const std::unique_ptr<Ledger> ledger = OpenLedger(ledger_options).value();
  Admission admission(ShuffledInfo(), Secret(), ledger.get(), {});
  const absl::Status refused = Charge(**admission.Admit("bob", Query("", 7), 0), 0, 7);
  ExpectRefused(refused, absl::StatusCode::kResourceExhausted, "PARTICIPATION_EXHAUSTED", "count");
  EXPECT_EQ(*ErrorQuota(refused), (Quota{5, 3, 3, 2}));
}

TEST_F(AdmissionTest, DrainingRefusesNewAndLetsOldFinish) {
  auto old = *Admit(Query("old"));
  admission.StartDraining();
  ExpectRefused(Admit(Query("new")).status(), absl::StatusCode::kUnavailable, "DRAINING", "");
  ExpectRefused(admission.Identify(CallerCredentials()).status(), absl::StatusCode::kUnavailable, "DRAINING", "");
  EXPECT_TRUE(Charge(*old, 0, 1).ok());
  EXPECT_FALSE(admission.AwaitIdle(absl::Now())) << "one is in flight";
  admission.Terminate();
  ExpectRefused(Charge(*old, 1, 1), absl::StatusCode::kUnavailable, "DRAINING", "");
  EXPECT_EQ(charged(), 1);
  old.reset();
  EXPECT_TRUE(admission.AwaitIdle(absl::Now()));
}

TEST_F(AdmissionTest, AwaitIdleWakesWhenTheLastQueryEnds) {
  auto old = *Admit(Query("old"));
  std::thread ender([&] { old.reset(); });
  EXPECT_TRUE(admission.AwaitIdle(absl::InfiniteFuture()));
  ender.join();
}

}  // namespace
}  // namespace gradoracle
