#include "core/query_policy.h"

#include <xmmintrin.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kRowCount = 1000;
constexpr double kSmallestNormal = std::numeric_limits<double>::min();
constexpr double kLargest = std::numeric_limits<double>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

OracleInfo Info(int64_t dimension = 3) {
  OracleInfo info;
  info.dimension = dimension;
  info.row_count = kRowCount;
  info.limits = {.min_batch_size = 32, .max_batch_size = kRowCount, .max_count = 5000, .max_weights_norm = 100};
  info.dataset_version = "v1";
  return info;
}

GradientQuery Query(int64_t dimension = 3) {
  GradientQuery query;
  query.weights = Eigen::VectorXd::LinSpaced(dimension, -1.0, 1.0);
  query.batch_size = 64;
  query.count = 10;
  return query;
}

std::string Reason(const GradientQuery& query, const OracleInfo& info) {
  const absl::Status status = ValidateQuery(query, info);
  return status.ok() ? "OK" : ErrorReason(status).value_or("no reason");
}

std::string Reason(const GradientQuery& query) { return Reason(query, Info()); }

// Sets MXCSR as the compute pool's threads have it; restores it on the way out.
class ScopedFlushSubnormals {
 public:
  ScopedFlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~ScopedFlushSubnormals() { _mm_setcsr(saved_); }
  ScopedFlushSubnormals(const ScopedFlushSubnormals&) = delete;
  ScopedFlushSubnormals& operator=(const ScopedFlushSubnormals&) = delete;

 private:
  unsigned saved_;
};

struct IeeeCase {
  const char* name;
  uint64_t bits;
  const char* reason;
};

// Every IEEE class, both signs, at the class borders.
const std::vector<IeeeCase>& IeeeCases() {
  static const std::vector<IeeeCase> cases = {
      {"zero", 0x0000000000000000, "OK"},
      {"minus zero", 0x8000000000000000, "OK"},
      {"smallest subnormal", 0x0000000000000001, "WEIGHTS_SUBNORMAL"},
      {"minus smallest subnormal", 0x8000000000000001, "WEIGHTS_SUBNORMAL"},
      {"middle subnormal", 0x0008000000000000, "WEIGHTS_SUBNORMAL"},
      {"largest subnormal", 0x000fffffffffffff, "WEIGHTS_SUBNORMAL"},
      {"minus largest subnormal", 0x800fffffffffffff, "WEIGHTS_SUBNORMAL"},
      {"smallest normal", 0x0010000000000000, "OK"},
      {"minus smallest normal", 0x8010000000000000, "OK"},
      {"one", 0x3ff0000000000000, "OK"},
      {"largest", 0x7fefffffffffffff, "WEIGHTS_NORM"},
      {"minus largest", 0xffefffffffffffff, "WEIGHTS_NORM"},
      {"infinity", 0x7ff0000000000000, "WEIGHTS_NOT_FINITE"},
      {"minus infinity", 0xfff0000000000000, "WEIGHTS_NOT_FINITE"},
      {"signalling NaN", 0x7ff0000000000001, "WEIGHTS_NOT_FINITE"},
      {"quiet NaN", 0x7ff8000000000000, "WEIGHTS_NOT_FINITE"},
      {"minus quiet NaN", 0xfff8000000000000, "WEIGHTS_NOT_FINITE"},
      {"NaN of all ones", 0x7fffffffffffffff, "WEIGHTS_NOT_FINITE"},
  };
  return cases;
}

void CheckIeeeClasses() {
  for (Eigen::Index coordinate = 0; coordinate < 3; ++coordinate) {
    for (const IeeeCase& c : IeeeCases()) {
      GradientQuery query = Query();
      query.weights[coordinate] = std::bit_cast<double>(c.bits);
      EXPECT_EQ(Reason(query), c.reason) << c.name << " at " << coordinate;
    }
  }
}

// Catches: a class let through or a coordinate skipped (threats row 5).
TEST(ValidateQueryTest, EveryIeeeClassAtEveryCoordinate) { CheckIeeeClasses(); }

// Catches: subnormals recognised by comparison, which DAZ turns into zeros; a norm that FTZ changes.
TEST(ValidateQueryTest, EveryIeeeClassWithSubnormalsFlushed) {
  const ScopedFlushSubnormals flush;
  volatile double subnormal = kSmallestNormal;
  subnormal = subnormal / 4;
  ASSERT_EQ(subnormal, 0.0) << "FTZ is not in force: this test would prove nothing";
  CheckIeeeClasses();
}

TEST(ValidateQueryTest, MessageNamesTheEntryAndItsValue) {
  GradientQuery query = Query();
  query.weights[2] = -kInfinity;
  const absl::Status status = ValidateQuery(query, Info());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), "weights");
  EXPECT_THAT(std::string(status.message()), HasSubstr("weights[2] is -inf"));
}

// Catches: an out-of-bounds read or a different answer for "absent" (threats row 6).
TEST(ValidateQueryTest, DimensionMustMatch) {
  for (const int64_t dimension : {0, 1, 2, 4, 1'000'000}) {
    GradientQuery query = Query();
    query.weights = Eigen::VectorXd::Zero(dimension);
    const absl::Status status = ValidateQuery(query, Info());
    EXPECT_EQ(ErrorReason(status), "WEIGHTS_DIMENSION") << dimension;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("has ", dimension, " entries; must have")));
  }
  GradientQuery empty = Query();
  empty.weights.resize(0);
  EXPECT_EQ(Reason(empty, Info(0)), "WEIGHTS_DIMENSION");
}

// Norms at cap (1 +- 1e-12), in one entry and spread over all. Catches: squares that overflow or underflow, the maximum
// norm in place of the Euclidean, a cap compared with the squared norm (threats row 4).
TEST(ValidateQueryTest, NormLimitIsSharp) {
  for (const int64_t dimension : {1, 3, 31, 1000}) {
    const Eigen::VectorXd spread = Eigen::VectorXd::Constant(dimension, 1 / std::sqrt(static_cast<double>(dimension)));
    for (const Eigen::VectorXd& direction :
         {Eigen::VectorXd(Eigen::VectorXd::Unit(dimension, dimension - 1)), spread}) {
      for (const double cap : {1e-300, 1.0, 100.0, 1e300}) {
        OracleInfo info = Info(dimension);
        info.limits.max_weights_norm = cap;
        GradientQuery query = Query(dimension);
        query.weights = cap * (1 - 1e-12) * direction;
        EXPECT_EQ(Reason(query, info), "OK") << cap << " in " << dimension;
        query.weights = cap * direction;  // what a caller's projection onto the ball returns
        EXPECT_EQ(Reason(query, info), "OK") << cap << " in " << dimension;
        query.weights = cap * (1 + 1e-12) * direction;
        EXPECT_EQ(Reason(query, info), "WEIGHTS_NORM") << cap << " in " << dimension;
      }
    }
  }
}

TEST(ValidateQueryTest, NormNeverOverflowsIntoAcceptance) {
  GradientQuery query = Query();
  OracleInfo info = Info();
  info.limits.max_weights_norm = kLargest;
  query.weights = Eigen::Vector3d(1e308, -1e308, 0);  // norm 1.41e308, squares overflow
  EXPECT_EQ(Reason(query, info), "OK");
  query.weights = Eigen::Vector3d(1.5e308, 1.5e308, 1.5e308);  // the norm itself overflows
  EXPECT_EQ(Reason(query, info), "WEIGHTS_NORM");
  info.limits.max_weights_norm = 1e300;
  query.weights = Eigen::Vector3d(1e308, 1e308, 1e308);
  const absl::Status status = ValidateQuery(query, info);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("e+308"));
}

struct IntegerCase {
  int64_t value;
  const char* reason;
};

// Catches: unsigned wrap-around, a 32-bit cut, `<` for `<=` at either limit (threats row 1).
TEST(ValidateQueryTest, BatchSizeLimits) {
  for (const IntegerCase& c : std::vector<IntegerCase>{{std::numeric_limits<int64_t>::min(), "BATCH_SIZE_NOT_POSITIVE"},
                                                       {-1, "BATCH_SIZE_NOT_POSITIVE"},
                                                       {0, "BATCH_SIZE_NOT_POSITIVE"},
                                                       {1, "BATCH_SIZE_TOO_SMALL"},
                                                       {31, "BATCH_SIZE_TOO_SMALL"},
                                                       {32, "OK"},
                                                       {kRowCount, "OK"},
                                                       {kRowCount + 1, "BATCH_SIZE_TOO_LARGE"},
                                                       {int64_t{1} << 31, "BATCH_SIZE_TOO_LARGE"},
                                                       {(int64_t{1} << 32) + 64, "BATCH_SIZE_TOO_LARGE"},
                                                       {std::numeric_limits<int64_t>::max(), "BATCH_SIZE_TOO_LARGE"}}) {
    GradientQuery query = Query();
    query.batch_size = c.value;
    const absl::Status status = ValidateQuery(query, Info());
    EXPECT_EQ(Reason(query), c.reason) << c.value;
    if (status.ok()) continue;
    EXPECT_EQ(ErrorField(status), "batch_size");
    EXPECT_EQ(status.code(), c.value < 1 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("batch_size is ", c.value, ";")));
    EXPECT_THAT(std::string(status.message()), HasSubstr("at least 32 and at most 1000"));
  }
}

TEST(ValidateQueryTest, CountLimits) {
  for (const IntegerCase& c : std::vector<IntegerCase>{{std::numeric_limits<int64_t>::min(), "COUNT_NOT_POSITIVE"},
                                                       {-1, "COUNT_NOT_POSITIVE"},
                                                       {0, "COUNT_NOT_POSITIVE"},
                                                       {1, "OK"},
                                                       {5000, "OK"},
                                                       {5001, "COUNT_TOO_LARGE"},
                                                       {(int64_t{1} << 32) + 1, "COUNT_TOO_LARGE"},
                                                       {std::numeric_limits<int64_t>::max(), "COUNT_TOO_LARGE"}}) {
    GradientQuery query = Query();
    query.count = c.value;
    EXPECT_EQ(Reason(query), c.reason) << c.value;
    if (ValidateQuery(query, Info()).ok()) continue;
    EXPECT_EQ(ErrorField(ValidateQuery(query, Info())), "count");
  }
}

// Catches: a variance or the probe served without being offered, or matched within a tolerance.
TEST(ValidateQueryTest, NoiseOnlyAsOffered) {
  OracleInfo info = Info();
  GradientQuery variance = Query();
  variance.total_noise_variance = 640;
  EXPECT_EQ(Reason(variance, info), "NOISE_VARIANCE_NOT_OFFERED");
  info.noise.extra_variances = {64, 640};
  EXPECT_EQ(Reason(variance, info), "OK");
  for (const double other : {0.0, -640.0, std::nextafter(640.0, 0.0), kInfinity, std::nan("")}) {
    variance.total_noise_variance = other;
    EXPECT_EQ(Reason(variance, info), "NOISE_VARIANCE_NOT_OFFERED") << other;
  }
  EXPECT_EQ(ValidateQuery(variance, info).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ValidateQuery(variance, info).message()), HasSubstr("one of 64, 640"));

  GradientQuery probe = Query();
  probe.curvature_probe = true;
  EXPECT_EQ(Reason(probe, info), "CURVATURE_PROBE_NOT_OFFERED");
  info.noise.curvature_probe = true;
  EXPECT_EQ(Reason(probe, info), "OK");
  probe.total_noise_variance = 640;
  EXPECT_EQ(Reason(probe, info), "NOISE_CONFLICT");
  EXPECT_EQ(ValidateQuery(probe, info).code(), absl::StatusCode::kInvalidArgument);
}

// Catches: control characters or bytes above 0x7e reaching logs and the ledger; the limit of 128 off by one.
TEST(ValidateQueryTest, RequestIds) {
  const std::vector<std::pair<std::string, const char*>> cases = {{"", "OK"},
                                                                  {"a b~!", "OK"},
                                                                  {std::string(128, 'x'), "OK"},
                                                                  {std::string(129, 'x'), "REQUEST_ID_INVALID"},
                                                                  {"a\nb", "REQUEST_ID_INVALID"},
                                                                  {std::string("a\0b", 3), "REQUEST_ID_INVALID"},
                                                                  {"\x7f", "REQUEST_ID_INVALID"},
                                                                  {"\xc3\xa9", "REQUEST_ID_INVALID"}};
  for (const auto& [request_id, reason] : cases) {
    GradientQuery query = Query();
    query.request_id = request_id;
    EXPECT_EQ(Reason(query), reason) << ::testing::PrintToString(request_id);
    for (const char character : std::string(ValidateQuery(query, Info()).message())) {
      EXPECT_TRUE(character >= 0x20 && character <= 0x7e) << "the message repeats a byte it refuses";
    }
  }
}

// Everything wrong at once, mended one by one. Catches: checks out of order (a cheap check must guard a dear one, and
// callers must see a stable answer).
TEST(ValidateQueryTest, ChecksComeInTheOrderPromised) {
  GradientQuery query;
  query.weights = Eigen::VectorXd::Constant(4, std::nan(""));
  query.batch_size = 0;
  query.count = 0;
  query.total_noise_variance = 1;
  query.request_id = "\n";
  EXPECT_EQ(Reason(query), "WEIGHTS_DIMENSION");
  query.weights = Eigen::Vector3d(kSmallestNormal / 2, 1e3, kInfinity);
  EXPECT_EQ(Reason(query), "WEIGHTS_NOT_FINITE");
  query.weights[2] = 0;
  EXPECT_EQ(Reason(query), "WEIGHTS_SUBNORMAL");
  query.weights[0] = 0;
  EXPECT_EQ(Reason(query), "WEIGHTS_NORM");
  query.weights[1] = 0;
  EXPECT_EQ(Reason(query), "BATCH_SIZE_NOT_POSITIVE");
  query.batch_size = 64;
  EXPECT_EQ(Reason(query), "COUNT_NOT_POSITIVE");
  query.count = 1;
  EXPECT_EQ(Reason(query), "NOISE_VARIANCE_NOT_OFFERED");
  query.total_noise_variance.reset();
  EXPECT_EQ(Reason(query), "REQUEST_ID_INVALID");
  query.request_id = "fine";
  EXPECT_EQ(Reason(query), "OK");
}

// Catches: a field left out of the digest (two different requests would share noise and batches), and the request id
// let in (a retry would not be recognised).
TEST(QueryDigestTest, DependsOnAllThatDecidesTheAnswerAndNothingElse) {
  const GradientQuery base = Query();
  std::set<std::string> digests = {QueryDigest(base, Info())};
  const auto expect_new = [&](const GradientQuery& query, const OracleInfo& info, const char* what) {
    EXPECT_TRUE(digests.insert(QueryDigest(query, info)).second) << what << " does not change the digest";
  };
  GradientQuery query = base;
  query.weights[1] = -0.0;
  expect_new(query, Info(), "the sign of zero");
  query.weights[1] = std::nextafter(0.5, 1.0);
  expect_new(query, Info(), "weights");
  query.weights[1] = 0.5;
  expect_new(query, Info(), "the last bit of a weight");
  query = base;
  query.batch_size = 65;
  expect_new(query, Info(), "batch_size");
  query = base;
  query.count = 11;
  expect_new(query, Info(), "count");
  query.count = 64;
  query.batch_size = 10;
  expect_new(query, Info(), "batch_size and count exchanged");
  query = base;
  query.curvature_probe = true;
  expect_new(query, Info(), "curvature_probe");
  query = base;
  query.total_noise_variance = 0;
  expect_new(query, Info(), "total_noise_variance 0 against absent");
  query.total_noise_variance = 64;
  expect_new(query, Info(), "total_noise_variance");
  OracleInfo info = Info();
  info.dataset_version = "v2";
  expect_new(base, info, "dataset_version");
  expect_new(Query(4), Info(4), "dimension");

  EXPECT_EQ(QueryDigest(base, Info()).size(), 32u);
  query = base;
  query.request_id = "another";
  EXPECT_EQ(QueryDigest(query, Info()), QueryDigest(base, Info()));
}

}  // namespace
}  // namespace gradoracle
