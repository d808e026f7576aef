#include "server/service/oracle_service.h"

#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "core/errors.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/conversion.h"
#include "proto/status_conversion.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

// A stream read by gRPC's own client.
struct Streamed {
  absl::Status status;
  std::string payload;
  std::vector<int64_t> chunks;
};

Streamed Stream(v1::OracleService::Stub& stub, const v1::StreamGradientsRequest& request) {
  Streamed streamed;
  grpc::ClientContext context;
  const auto reader = stub.StreamGradients(&context, request);
  v1::StreamGradientsResponse chunk;
  int64_t next = request.first_gradient();
  while (reader->Read(&chunk)) {
    EXPECT_EQ(chunk.first_gradient(), next);
    next += chunk.gradient_count();
    streamed.payload += chunk.gradients();
    streamed.chunks.push_back(chunk.gradient_count());
  }
  streamed.status = FromGrpcStatus(reader->Finish());
  return streamed;
}

std::string Bytes(const RowMajorMatrix& gradients, ElementType type = ElementType::kFloat64) {
  std::string payload;
  EncodeGradients(gradients, type, payload);
  return payload;
}

// Waits until `condition` holds; the test's own timeout is the bound.
template <typename Condition>
void Await(const Condition& condition) {
  while (!condition()) absl::SleepFor(absl::Milliseconds(2));
}

struct OracleServiceTest : testing::Test {
  explicit OracleServiceTest(const TestOracle::Options& options = {}) : oracle(options) {}
  v1::StreamGradientsRequest Request(const GradientQuery& query, const StreamOptions& options = {}) {
    return ToProto(query, options);
  }
  TestOracle oracle;
  std::unique_ptr<v1::OracleService::Stub> stub = v1::OracleService::NewStub(oracle.Tcp());
};

TEST_F(OracleServiceTest, GetInfoIsTheOraclesInfo) {
  grpc::ClientContext context;
  v1::GetInfoResponse response;
  ASSERT_TRUE(stub->GetInfo(&context, {}, &response).ok());
  EXPECT_EQ(response.SerializeAsString(), ToProto(oracle.info()).SerializeAsString());
}

TEST_F(OracleServiceTest, UnaryAndStreamAgreeOnTheFirstGradient) {
  const GradientQuery query = oracle.Query(1, "one");
  grpc::ClientContext context;
  v1::GetGradientResponse response;
  ASSERT_TRUE(stub->GetGradient(&context, ToUnaryProto(query, ElementType::kFloat64), &response).ok());
  EXPECT_EQ(response.gradient(), Bytes(oracle.Expected(query)));
  EXPECT_EQ(Stream(*stub, Request(query)).payload, response.gradient());
  EXPECT_EQ(oracle.gradients_charged(), 1) << "the second was a retry";
}

// Bytes depend neither on the chunk hint nor on where a request resumes. Catches random numbers tied to chunks.
TEST_F(OracleServiceTest, ChunkHintsAndResumptionsDoNotChangeTheBytes) {
  const GradientQuery query = oracle.Query(1000, "chunks");
  const std::string expected = Bytes(oracle.Expected(query));
  StreamOptions options;
  for (const int64_t hint : {0, 1, 7, 999, 1000, 1'000'000}) {
    options.max_chunk_gradients = hint;
    const Streamed streamed = Stream(*stub, Request(query, options));
    EXPECT_TRUE(streamed.status.ok()) << streamed.status;
    EXPECT_EQ(streamed.payload, expected) << "hint " << hint;
    for (size_t i = 0; i + 1 < streamed.chunks.size(); ++i) EXPECT_EQ(streamed.chunks[i], hint);
    EXPECT_LE(streamed.chunks.back(), hint == 0 ? 1000 : hint);
  }
  options.max_chunk_gradients = 64;
  for (const int64_t first : {1, 63, 64, 500, 999}) {
    options.first_gradient = first;
    const Streamed streamed = Stream(*stub, Request(query, options));
    EXPECT_TRUE(streamed.status.ok()) << streamed.status;
    EXPECT_EQ(streamed.payload, expected.substr(first * 5 * 8)) << "from " << first;
  }
  EXPECT_EQ(oracle.gradients_charged(), 1000) << "all but the first were retries";
}

TEST_F(OracleServiceTest, ChunksStayWithin256KiB) {
  const GradientQuery query = oracle.Query(20'000, "bytes");
  StreamOptions options;
  for (const ElementType type : {ElementType::kFloat64, ElementType::kFloat32}) {
    options.element_type = type;
    options.max_chunk_gradients = std::numeric_limits<int64_t>::max();
    const Streamed streamed = Stream(*stub, Request(query, options));
    ASSERT_TRUE(streamed.status.ok()) << streamed.status;
    EXPECT_EQ(streamed.payload, Bytes(oracle.Expected(query), type));
    EXPECT_EQ(streamed.chunks.front(), 256 * 1024 / (5 * static_cast<int64_t>(ElementSize(type))));
  }
}

TEST_F(OracleServiceTest, ReplayIsByteEqualAndAnotherIdIsNot) {
  const GradientQuery query = oracle.Query(50, "x");
  const std::string first = Stream(*stub, Request(query)).payload;
  EXPECT_EQ(Stream(*stub, Request(query)).payload, first);
  EXPECT_NE(Stream(*stub, Request(oracle.Query(50, "y"))).payload, first);
  EXPECT_NE(Stream(*stub, Request(oracle.Query(50))).payload, Stream(*stub, Request(oracle.Query(50))).payload);
}

// Every refusal, over the wire, by code, reason and field. Catches a check that is missing, comes too late (something
// was computed) or loses its details on the way.
TEST_F(OracleServiceTest, RefusalsNameReasonAndField) {
  ASSERT_TRUE(Stream(*stub, Request(oracle.Query(10, "taken"))).status.ok());
  const int64_t charged = oracle.gradients_charged();
  struct Case {
    absl::StatusCode code;
    const char* reason;
    const char* field;
    std::function<void(v1::StreamGradientsRequest&)> damage;
    bool unary = true;  // whether the unary call can be wrong in this way too
  };
  using Request_ = v1::StreamGradientsRequest;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kRange = absl::StatusCode::kOutOfRange;
  constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
  constexpr auto kExists = absl::StatusCode::kAlreadyExists;
  const double infinity = std::numeric_limits<double>::infinity();
  const Case cases[] = {
      {kInvalid, "WEIGHTS_DIMENSION", "weights", [](Request_& r) { r.clear_weights(); }},
      {kInvalid, "WEIGHTS_DIMENSION", "weights", [](Request_& r) { r.add_weights(0); }},
      {kInvalid, "WEIGHTS_NOT_FINITE", "weights", [](Request_& r) { r.set_weights(4, std::nan("")); }},
      {kInvalid, "WEIGHTS_NOT_FINITE", "weights", [&](Request_& r) { r.set_weights(0, -infinity); }},
      {kInvalid, "WEIGHTS_SUBNORMAL", "weights", [](Request_& r) { r.set_weights(1, 5e-324); }},
      {kRange, "WEIGHTS_NORM", "weights", [](Request_& r) { r.set_weights(0, 1e7); }},
      {kInvalid, "BATCH_SIZE_NOT_POSITIVE", "batch_size", [](Request_& r) { r.set_batch_size(0); }},
      {kInvalid, "BATCH_SIZE_NOT_POSITIVE", "batch_size", [](Request_& r) { r.set_batch_size(INT64_MIN); }},
      {kRange, "BATCH_SIZE_TOO_SMALL", "batch_size", [](Request_& r) { r.set_batch_size(31); }},
      {kRange, "BATCH_SIZE_TOO_LARGE", "batch_size", [](Request_& r) { r.set_batch_size(301); }},
      {kRange, "BATCH_SIZE_TOO_LARGE", "batch_size", [](Request_& r) { r.set_batch_size(INT64_MAX); }},
      {kInvalid, "COUNT_NOT_POSITIVE", "count", [](Request_& r) { r.set_count(0); }, false},
      {kRange, "COUNT_TOO_LARGE", "count", [](Request_& r) { r.set_count(1'000'001); }, false},
      {kInvalid, "REQUEST_ID_INVALID", "request_id", [](Request_& r) { r.set_request_id(std::string(129, 'x')); }},
      {kInvalid, "REQUEST_ID_INVALID", "request_id", [](Request_& r) { r.set_request_id("a\nb"); }},
      {kPrecondition, "NOISE_VARIANCE_NOT_OFFERED", "total_noise_variance",
       [](Request_& r) { r.mutable_noise()->set_total_noise_variance(3); }},
      {kPrecondition, "CURVATURE_PROBE_NOT_OFFERED", "curvature_probe",
       [](Request_& r) { r.mutable_noise()->set_curvature_probe(true); }},
      {kInvalid, "ELEMENT_TYPE_UNKNOWN", "element_type",
       [](Request_& r) { r.set_element_type(static_cast<v1::ElementType>(3)); }},
      {kInvalid, "FIRST_GRADIENT_NEGATIVE", "first_gradient", [](Request_& r) { r.set_first_gradient(-1); }, false},
      {kRange, "FIRST_GRADIENT", "first_gradient", [](Request_& r) { r.set_first_gradient(10); }, false},
      {kInvalid, "MAX_CHUNK_GRADIENTS_NEGATIVE", "max_chunk_gradients",
       [](Request_& r) { r.set_max_chunk_gradients(-1); }, false},
      {kExists, "REQUEST_ID_REUSED", "request_id",
       [](Request_& r) { r.set_request_id("taken"), r.set_batch_size(33); }},
      {kExists, "REQUEST_LOST", "request_id",
       [](Request_& r) { r.set_request_id("never begun"), r.set_first_gradient(3); }, false},
      {kExists, "REQUEST_LOST", "request_id", [](Request_& r) { r.set_first_gradient(3); }, false},
  };
  for (const Case& c : cases) {
    v1::StreamGradientsRequest request = Request(oracle.Query(10));
    c.damage(request);
    const Streamed streamed = Stream(*stub, request);
    EXPECT_EQ(streamed.status.code(), c.code) << streamed.status;
    EXPECT_EQ(ErrorReason(streamed.status).value_or(""), c.reason) << streamed.status;
    EXPECT_EQ(ErrorField(streamed.status).value_or(""), c.field) << streamed.status;
    EXPECT_TRUE(streamed.chunks.empty()) << c.reason;
    if (!c.unary) continue;
    v1::GetGradientRequest unary;
    *unary.mutable_weights() = request.weights();
    unary.set_batch_size(request.batch_size());
    if (request.has_noise()) *unary.mutable_noise() = request.noise();
    unary.set_request_id(request.request_id());
    unary.set_element_type(request.element_type());
    grpc::ClientContext context;
    v1::GetGradientResponse response;
    const absl::Status status = FromGrpcStatus(stub->GetGradient(&context, unary, &response));
    EXPECT_EQ(status.code(), c.code) << status;
    EXPECT_EQ(ErrorReason(status).value_or(""), c.reason) << status;
    EXPECT_EQ(ErrorField(status).value_or(""), c.field) << status;
  }
  EXPECT_EQ(oracle.gradients_charged(), charged);
  // A refusal of the ledger is told before its reactor is gone.
  EXPECT_TRUE(oracle.admission().AwaitIdle(absl::Now() + absl::Seconds(30)));
}

// 16 d + 64 KiB: a message of weights of another dimension is either refused by name or, when much larger, not taken.
TEST_F(OracleServiceTest, OversizedRequestsAreNotTaken) {
  v1::StreamGradientsRequest request = Request(oracle.Query(10));
  request.mutable_weights()->Resize(100'000, 1.0);
  EXPECT_EQ(Stream(*stub, request).status.code(), absl::StatusCode::kResourceExhausted);
}

// Counts the work of one long stream: 1 GB of gradients nobody could hold.
struct LongStreamTest : testing::Test {
  static constexpr int64_t kChunk = 100;
  static constexpr int64_t kCount = 1'000'000;
  static constexpr int64_t kAhead = 32 << 20;  // most bytes computed ahead of the reader

  explicit LongStreamTest(TestOracle::Options options = {}) {
    options.dimension = 128;
    options.service.on_computed = [this](int64_t, int64_t gradient_count) { computed += gradient_count; };
    oracle = std::make_unique<TestOracle>(options);
    stub = v1::OracleService::NewStub(oracle->Tcp());
    StreamOptions stream;
    stream.max_chunk_gradients = kChunk;
    request = ToProto(oracle->Query(kCount, "long"), stream);
  }
  // Waits until nothing was computed for a while (a stream that goes on computes 100 000 a second). On a machine so
  // busy that this is fooled, the tests below see less work than there is, which fails none of them.
  int64_t AwaitRest() {
    int64_t before = -1;
    while (before != computed) {
      before = computed;
      absl::SleepFor(absl::Milliseconds(200));
    }
    return before;
  }

  std::atomic<int64_t> computed{0};
  std::unique_ptr<TestOracle> oracle;
  std::unique_ptr<v1::OracleService::Stub> stub;
  v1::StreamGradientsRequest request;
};

// A reader that does not read: the server computes what fits the connection's buffers and two chunks, and stops.
// Without back-pressure it would go on to a million.
TEST_F(LongStreamTest, SlowReaderBoundsTheWork) {
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, request);
  v1::StreamGradientsResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  const int64_t at_rest = AwaitRest();
  EXPECT_LE(at_rest * 128 * 8, kAhead);
  // As it reads on, work goes on, still no further ahead than that.
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(reader->Read(&chunk));
  const int64_t later = AwaitRest();
  EXPECT_GE(later, 201 * kChunk);
  EXPECT_LE((later - 201 * kChunk) * 128 * 8, kAhead);
  context.TryCancel();
  while (reader->Read(&chunk)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
}

// After a cancellation at most the chunk being computed is finished, and the place among the concurrent queries is
// given back. A stream that missed it would go on to a million, or hang with its write.
TEST_F(LongStreamTest, CancellationStopsTheWorkAndFreesThePlace) {
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, request);
  v1::StreamGradientsResponse chunk;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(oracle->admission().queries_in_flight(), 1);
  context.TryCancel();
  Await([&] { return oracle->admission().queries_in_flight() == 0; });
  const int64_t at_end = computed;
  EXPECT_LT(at_end, kCount / 2);
  AwaitRest();
  EXPECT_EQ(computed, at_end) << "work after the end of the stream";
}

// The same while the stream waits for its reader, with no work going on that could notice.
TEST_F(LongStreamTest, CancellationOfAStuckStreamFreesThePlace) {
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, request);
  Await([&] { return computed > 0; });
  AwaitRest();
  EXPECT_EQ(oracle->admission().queries_in_flight(), 1);
  context.TryCancel();
  Await([&] { return oracle->admission().queries_in_flight() == 0; });
  EXPECT_LE(computed * 128 * 8, kAhead);
}

// A cancellation that arrives while a chunk of long work is computed stops before that chunk is done; the next one is
// not begun. Without looking it would go on to 1000.
TEST(CancellationTest, StopsWithinOneChunk) {
  std::atomic<int64_t> computed{0};
  std::atomic<bool> go{false};
  TestOracle::Options options;
  options.row_count = 20'000;
  options.dimension = 250;  // n d = 5e6 multiply-adds a gradient: pieces of 1, chunks of 40
  options.service.on_computed = [&](int64_t, int64_t gradient_count) {
    computed += gradient_count;
    Await([&] { return go.load(); });
  };
  TestOracle oracle(options);
  GradientQuery query = oracle.Query(1000, "long");
  query.batch_size = 20'000;
  const auto stub = v1::OracleService::NewStub(oracle.Tcp());
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, ToProto(query, {}));
  Await([&] { return computed == 1; });
  context.TryCancel();
  v1::StreamGradientsResponse chunk;
  EXPECT_FALSE(reader->Read(&chunk));
  absl::SleepFor(absl::Milliseconds(200));  // for the server's callback; usually 1 is computed, on a busy machine more
  go = true;
  Await([&] { return oracle.admission().queries_in_flight() == 0; });
  EXPECT_LE(computed, 40);
}

// Draining: calls in flight finish with all their bytes, new ones are told when to come back.
TEST_F(LongStreamTest, DrainingLetsStreamsFinish) {
  const GradientQuery query = oracle->Query(20'000, "drained");
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, ToProto(query, {}));
  v1::StreamGradientsResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  std::string payload = chunk.gradients();
  bool complete = false;
  std::thread stopper([&] { complete = oracle->server().Shutdown(absl::InfiniteFuture()); });
  while (reader->Read(&chunk)) payload += chunk.gradients();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(payload, Bytes(oracle->Expected(query)));
  stopper.join();
  EXPECT_TRUE(complete);
}

// As long a grace as a slow machine may need for the last chunks to be read.
struct PatientLongStreamTest : LongStreamTest {
  PatientLongStreamTest() : LongStreamTest({.cut_short_grace = absl::Minutes(5)}) {}
};

// Past the deadline a stream ends with UNAVAILABLE and the reason, so that its client resumes elsewhere or reports it;
// the reader here reads, so the end arrives.
TEST_F(PatientLongStreamTest, StreamsPastTheDeadlineEndUnavailable) {
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, request);
  v1::StreamGradientsResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  bool complete = true;
  std::thread stopper([&] { complete = oracle->server().Shutdown(absl::Now() + absl::Milliseconds(50)); });
  while (reader->Read(&chunk)) {
  }
  const absl::Status status = FromGrpcStatus(reader->Finish());
  stopper.join();
  EXPECT_FALSE(complete);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ErrorReason(status), "DRAINING");
}

// A reader that never reads cannot hold the server up either.
TEST_F(LongStreamTest, ShutdownEndsDespiteAStuckReader) {
  grpc::ClientContext context;
  const auto reader = stub->StreamGradients(&context, request);
  Await([&] { return computed > 0; });
  AwaitRest();
  EXPECT_FALSE(oracle->server().Shutdown(absl::Now()));
  EXPECT_EQ(oracle->admission().queries_in_flight(), 0);
}

TEST_F(OracleServiceTest, NewCallsWhileDrainingAreRefused) {
  oracle.admission().StartDraining();
  const Streamed streamed = Stream(*stub, Request(oracle.Query(10)));
  EXPECT_EQ(streamed.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(streamed.status), "DRAINING");
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  EXPECT_EQ(stub->GetInfo(&context, {}, &info).error_code(), grpc::UNAVAILABLE);
}

TEST(GrpcServerTest, TakenPortIsAnError) {
  TestOracle oracle;
  OracleService service(nullptr, &oracle.admission(), nullptr, {});
  HealthService health;
  GrpcServerOptions options;
  options.listen = oracle.address();
  options.dimension = 5;
  const absl::Status status = GrpcServer::Start(options, &service, &health, &oracle.admission()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), "listen");
  EXPECT_NE(status.message().find(oracle.address()), absl::string_view::npos) << status;
}

// Many streams at once over few pool threads: every one gets its own bits. (TSan looks at the reactor here.)
TEST_F(OracleServiceTest, ConcurrentStreamsGetTheirOwnBits) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const GradientQuery query = oracle.Query(2000 + i, absl::StrCat("s", i));
      StreamOptions options;
      options.max_chunk_gradients = 50;
      const Streamed streamed = Stream(*stub, Request(query, options));
      EXPECT_TRUE(streamed.status.ok()) << streamed.status;
      EXPECT_EQ(streamed.payload, Bytes(oracle.Expected(query)));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gradoracle
