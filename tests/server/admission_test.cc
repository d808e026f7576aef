#include "server/admission.h"

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "gtest/gtest.h"

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

struct AdmissionTest : testing::Test {
  explicit AdmissionTest(const AdmissionOptions& options = {}) : admission(Info(), Secret(), options) {}
  absl::StatusOr<std::unique_ptr<AdmittedQuery>> Admit(const GradientQuery& query, int64_t first_gradient = 0) {
    return admission.Admit("anonymous", query, first_gradient);
  }
  Admission admission;
};

void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& reason,
                   const std::string& field) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status).value_or(""), reason) << status;
  EXPECT_EQ(ErrorField(status).value_or(""), field) << status;
}

TEST_F(AdmissionTest, EverybodyIsAnonymous) {
  EXPECT_EQ(*admission.Identify(""), "anonymous");
  EXPECT_EQ(*admission.Identify("Bearer x"), "anonymous");
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
  const auto begun = *Admit(Query("id"));
  ASSERT_TRUE(begun->Charge(0, 9).ok());
  EXPECT_EQ((*Admit(Query("id"), 9))->key(), key) << "resumed";
  EXPECT_NE((*Admit(Query("other")))->key(), key);
  EXPECT_NE((*admission.Admit("somebody", Query("id"), 0))->key(), key);
  EXPECT_NE((*Admit(Query("")))->key(), (*Admit(Query("")))->key()) << "unnamed requests are all different";
}

TEST_F(AdmissionTest, SameIdWithOtherContentIsRefused) {
  ASSERT_TRUE(Admit(Query("id")).ok());
  std::vector<GradientQuery> others(4, Query("id"));
  others[0].weights[0] = 1 + 1e-15;
  others[1].batch_size = 33;
  others[2].count = 11;
  others[3].weights = Eigen::Vector2d(2, 1);
  for (const GradientQuery& other : others) {
    ExpectRefused(Admit(other).status(), absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED", "request_id");
  }
  EXPECT_TRUE(Admit(Query("id")).ok()) << "the first content still stands";
  EXPECT_TRUE(admission.Admit("somebody", others[0], 0).ok()) << "ids belong to their principal";
  EXPECT_EQ(admission.queries_in_flight(), 0) << "a refused query kept its place";
}

TEST_F(AdmissionTest, ResumesOnlyWhatThisProcessBegan) {
  ExpectRefused(Admit(Query("unknown"), 1).status(), absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id");
  ExpectRefused(Admit(Query(""), 1).status(), absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id");
  ExpectRefused(Admit(Query("unknown"), 1).status(), absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id");
  const auto known = *Admit(Query("known"));
  ASSERT_TRUE(known->Charge(0, 9).ok());
  EXPECT_TRUE(Admit(Query("known"), 9).ok());
  ExpectRefused(Admit(Query("known"), 10).status(), absl::StatusCode::kOutOfRange, "FIRST_GRADIENT", "first_gradient");
  ExpectRefused(Admit(Query("known"), -1).status(), absl::StatusCode::kOutOfRange, "FIRST_GRADIENT", "first_gradient");
}

// Catches: a resumption beyond what was sent being charged for gradients that nobody gets.
TEST_F(AdmissionTest, DoesNotResumeBeyondWhatWasCharged) {
  const auto first = *Admit(Query("id"));
  ASSERT_TRUE(first->Charge(0, 4).ok());
  ExpectRefused(Admit(Query("id"), 5).status(), absl::StatusCode::kOutOfRange, "FIRST_GRADIENT", "first_gradient");
  EXPECT_EQ(admission.queries_in_flight(), 1) << "a refused query kept its place";
  EXPECT_TRUE(Admit(Query("id"), 4).ok());
  EXPECT_EQ(admission.gradients_charged(), 4);
}

// The ledger's rule: what is computed is charged first and once; retries and resumptions are free.
TEST_F(AdmissionTest, ChargesEachGradientOfANamedRequestOnce) {
  auto first = *Admit(Query("id"));
  EXPECT_TRUE(first->Charge(0, 4).ok());
  EXPECT_EQ(admission.gradients_charged(), 4);
  EXPECT_TRUE(first->Charge(4, 2).ok());
  auto retry = *Admit(Query("id"));
  EXPECT_TRUE(retry->Charge(0, 5).ok());
  EXPECT_EQ(admission.gradients_charged(), 6);
  EXPECT_TRUE(retry->Charge(5, 5).ok());
  EXPECT_EQ(admission.gradients_charged(), 10);
  auto unnamed = *Admit(Query(""));
  EXPECT_TRUE(unnamed->Charge(0, 10).ok());
  auto another = *Admit(Query(""));
  EXPECT_TRUE(another->Charge(0, 10).ok());
  EXPECT_EQ(admission.gradients_charged(), 30);
}

// Concurrent answers to one named request: the lock in Charge is what keeps the sum right.
TEST_F(AdmissionTest, ConcurrentRetriesAreChargedOnce) {
  constexpr int kThreads = 8;
  constexpr int kCount = 10'000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto admitted = *Admit(Query("id", kCount));
      for (int k = 0; k < kCount; ++k) EXPECT_TRUE(admitted->Charge(k, 1).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admission.gradients_charged(), kCount);
  EXPECT_EQ(admission.queries_in_flight(), 0);
}

struct SmallAdmissionTest : AdmissionTest {
  SmallAdmissionTest() : AdmissionTest({.max_concurrent_queries = 2, .max_remembered_requests = 3}) {}
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
  Admission admission(Info(), Secret(), {.max_answer_bytes = 2.5 * one});
  auto a = admission.Admit("anonymous", Query(""), 0);
  auto b = admission.Admit("anonymous", Query(""), 0);
  ASSERT_TRUE(a.ok() && b.ok());
  ExpectRefused(admission.Admit("anonymous", Query(""), 0).status(), absl::StatusCode::kResourceExhausted,
                "TOO_MANY_QUERIES", "");
  a->reset();
  EXPECT_TRUE(admission.Admit("anonymous", Query(""), 0).ok());
  Admission tiny(Info(), Secret(), {.max_answer_bytes = 1});
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(tiny.Admit("anonymous", Query(""), 0).ok()) << "alone";
}

// Forgetting loses the reuse check and resumption of the oldest; the key still depends on the content.
TEST_F(SmallAdmissionTest, ForgetsTheOldestNamedRequests) {
  const auto begin = [&](const std::string& id) { ASSERT_TRUE((*Admit(Query(id)))->Charge(0, 5).ok()); };
  const RequestKey key = (*Admit(Query("0")))->key();
  for (int i = 0; i <= 2; ++i) begin(absl::StrCat(i));
  EXPECT_TRUE(Admit(Query("0"), 5).ok()) << "three are remembered";
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Admit(Query("")).ok());
  EXPECT_TRUE(Admit(Query("0"), 5).ok()) << "unnamed requests take no place";
  begin("3");
  ExpectRefused(Admit(Query("0"), 5).status(), absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id");
  EXPECT_TRUE(Admit(Query("2"), 5).ok());
  GradientQuery other = Query("0");
  other.batch_size = 40;
  const auto admitted = Admit(other);
  ASSERT_TRUE(admitted.ok());
  EXPECT_NE((*admitted)->key(), key);
}

TEST_F(AdmissionTest, DrainingRefusesNewAndLetsOldFinish) {
  auto old = *Admit(Query("old"));
  admission.StartDraining();
  ExpectRefused(Admit(Query("new")).status(), absl::StatusCode::kUnavailable, "DRAINING", "");
  ExpectRefused(admission.Identify("").status(), absl::StatusCode::kUnavailable, "DRAINING", "");
  EXPECT_TRUE(old->Charge(0, 1).ok());
  EXPECT_FALSE(admission.AwaitIdle(absl::Now())) << "one is in flight";
  admission.Terminate();
  ExpectRefused(old->Charge(1, 1), absl::StatusCode::kUnavailable, "DRAINING", "");
  EXPECT_EQ(admission.gradients_charged(), 1);
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
