#include "client/oracle_client.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "client/connection.h"
#include "core/errors.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/conversion.h"
#include "tests/client/cutting_proxy.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

std::unique_ptr<OracleClient> Client(const std::string& target, const OracleClientOptions& options = {}) {
  auto client = OracleClient::Create(target, options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

std::unique_ptr<OracleClient> InProcessClient(TestOracle& oracle, const OracleClientOptions& options = {}) {
  return NewOracleClient(
      "in-process",
      [&oracle](const grpc::ChannelArguments& arguments) { return oracle.server().InProcessChannel(arguments); },
      options);
}

// Everything a source delivers, one gradient a row, with the sizes of its blocks.
struct Gathered {
  absl::Status status;
  RowMajorMatrix gradients;
  std::vector<int64_t> blocks;
};

Gathered Gather(OracleClient& client, const GradientQuery& query,
                const std::function<absl::Status(int64_t received)>& after_block = nullptr) {
  Gathered gathered;
  gathered.gradients.resize(query.count, query.weights.size());
  int64_t received = 0;
  gathered.status = client.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    EXPECT_LE(received + block.rows(), query.count);
    gathered.gradients.middleRows(received, block.rows()) = block;
    received += block.rows();
    gathered.blocks.push_back(block.rows());
    return after_block ? after_block(received) : absl::OkStatus();
  });
  gathered.gradients.conservativeResize(received, Eigen::NoChange);
  return gathered;
}

// The engine's own bits, in process and over TCP: catches any reordering, loss, duplication or rounding on the way, and
// buffers reused while still in use (the stream is many chunks long).
TEST(OracleClientTest, StreamsTheEnginesBits) {
  TestOracle oracle;
  const GradientQuery query = oracle.Query(20'000, "bits");  // 3 chunks of 256 KiB and a rest
  const RowMajorMatrix expected = oracle.Expected(query);
  for (const bool tcp : {false, true}) {
    const auto client = tcp ? Client(oracle.address()) : InProcessClient(oracle);
    const Gathered gathered = Gather(*client, query);
    ASSERT_TRUE(gathered.status.ok()) << gathered.status;
    ASSERT_EQ(gathered.gradients.rows(), query.count);
    EXPECT_EQ(gathered.gradients, expected);
    EXPECT_EQ(gathered.blocks, (std::vector<int64_t>{6553, 6553, 6553, 341}));
  }
}

TEST(OracleClientTest, Float32IsTheRoundedFloat64) {
  TestOracle oracle;
  const GradientQuery query = oracle.Query(20'000, "narrow");
  OracleClientOptions options;
  options.float32 = true;
  const auto client = Client(oracle.address(), options);
  const Gathered gathered = Gather(*client, query);
  ASSERT_TRUE(gathered.status.ok()) << gathered.status;
  EXPECT_EQ(gathered.gradients, RowMajorMatrix(oracle.Expected(query).cast<float>().cast<double>()));
  EXPECT_EQ(gathered.blocks.front(), 13'107) << "twice as many fit a chunk";
}

// One gradient of 400 kB is larger than a chunk; the client's receive limit must follow the dimension.
TEST(OracleClientTest, GradientsLargerThanAChunk) {
  TestOracle::Options options;
  options.dimension = 50'000;
  options.row_count = 64;
  TestOracle oracle(options);
  const GradientQuery query = oracle.Query(5, "wide");
  const auto client = Client(oracle.address());
  const Gathered gathered = Gather(*client, query);
  ASSERT_TRUE(gathered.status.ok()) << gathered.status;
  EXPECT_EQ(gathered.gradients, oracle.Expected(query));
  EXPECT_EQ(gathered.blocks, (std::vector<int64_t>{1, 1, 1, 1, 1}));
}

TEST(OracleClientTest, UnaryGradientIsTheFirstOfTheStream) {
  TestOracle oracle;
  const GradientQuery query = oracle.Query(1, "one");
  for (const bool float32 : {false, true}) {
    OracleClientOptions options;
    options.float32 = float32;
    const auto client = Client(oracle.address(), options);
    const auto gradient = client->Gradient(query);
    ASSERT_TRUE(gradient.ok()) << gradient.status();
    const Eigen::VectorXd expected = oracle.Expected(query).row(0);
    EXPECT_LE((*gradient - expected).norm(), float32 ? 1e-6 * expected.norm() : 0);
  }
  EXPECT_EQ(ErrorField(Client(oracle.address())->Gradient(oracle.Query(2)).status()), "count");
}

TEST(OracleClientTest, InfoIsCachedAfterTheFirstSuccess) {
  auto oracle = std::make_unique<TestOracle>();
  const auto client = Client(oracle->address());
  const auto info = client->Info();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->dimension, 5);
  EXPECT_EQ(info->limits.max_batch_size, 300);
  oracle.reset();
  EXPECT_TRUE(client->Info().ok()) << "asked again";
}

// The connection is cut in the headers, inside the first chunk, inside a later one, several times; what arrives in the
// end is what an uncut run gets. Catches a resumption at the wrong gradient, new noise after it, or a chunk counted
// twice; and that a resumed stream is charged once.
TEST(OracleClientTest, ResumesAfterCutsWithTheSameBytes) {
  TestOracle oracle;
  const GradientQuery query = oracle.Query(50'000, "cut");
  const RowMajorMatrix expected = oracle.Expected(query);
  // Connection 0 asks for info; the others each carry a piece of the 2 MB stream.
  const std::vector<int64_t> budgets = {CuttingProxy::kUncut, 20, 300'000, 5'000, 700'000, 262'500};
  CuttingProxy proxy(oracle.server().port(), [&](int connection) {
    return connection < static_cast<int>(budgets.size()) ? budgets[connection] : CuttingProxy::kUncut;
  });
  const auto client = Client(proxy.address());
  const Gathered gathered = Gather(*client, query);
  ASSERT_TRUE(gathered.status.ok()) << gathered.status;
  ASSERT_EQ(gathered.gradients.rows(), query.count);
  EXPECT_EQ(gathered.gradients, expected);
  EXPECT_GE(proxy.cuts(), 5) << "the test did not cut what it meant to";
  EXPECT_EQ(oracle.gradients_charged(), query.count);
}

// An unnamed query is given a name, or a cut would end it.
TEST(OracleClientTest, UnnamedQueriesResumeToo) {
  TestOracle oracle;
  CuttingProxy proxy(oracle.server().port(),
                     [](int connection) { return connection == 1 ? 300'000 : CuttingProxy::kUncut; });
  const auto client = Client(proxy.address());
  const Gathered gathered = Gather(*client, oracle.Query(50'000));
  ASSERT_TRUE(gathered.status.ok()) << gathered.status;
  EXPECT_EQ(gathered.gradients.rows(), 50'000);
  EXPECT_EQ(proxy.cuts(), 1);
}

TEST(OracleClientTest, GivesUpAfterMaxResumptionsWithoutProgress) {
  TestOracle oracle;
  CuttingProxy proxy(oracle.server().port(),
                     [](int connection) { return connection == 0 ? CuttingProxy::kUncut : 40; });
  OracleClientOptions options;
  options.max_resumptions = 2;
  const auto client = Client(proxy.address(), options);
  const Gathered gathered = Gather(*client, oracle.Query(50'000));
  EXPECT_EQ(gathered.status.code(), absl::StatusCode::kUnavailable) << gathered.status;
  EXPECT_EQ(ErrorReason(gathered.status), "ORACLE_UNREACHABLE");
  EXPECT_EQ(gathered.gradients.rows(), 0);
}

// After a restart the new process cannot continue the old noise: mixing the two would be a wrong estimate. The caller
// learns so and keeps what it has.
TEST(OracleClientTest, ResumingAtARestartedOracleIsRequestLost) {
  TestOracle oracle;
  TestOracle::Options options;
  options.secret = 8;
  TestOracle restarted(options);
  CuttingProxy proxy([&](int connection) { return (connection < 2 ? oracle : restarted).server().port(); },
                     [](int connection) { return connection == 1 ? 300'000 : CuttingProxy::kUncut; });
  const GradientQuery query = oracle.Query(50'000, "lost");
  const Gathered gathered = Gather(*Client(proxy.address()), query);
  EXPECT_EQ(gathered.status.code(), absl::StatusCode::kAlreadyExists) << gathered.status;
  EXPECT_EQ(ErrorReason(gathered.status), "REQUEST_LOST");
  EXPECT_EQ(ErrorField(gathered.status), "request_id");
  ASSERT_EQ(gathered.gradients.rows(), 6553);
  EXPECT_EQ(gathered.gradients, oracle.Expected(query).topRows(6553));
}

// While a sink works on a block the next messages arrive; none may land in the memory it is looking at. The sink here
// is slower than the stream, so that reading ahead comes to its limit.
TEST(OracleClientTest, BlocksStayPutWhileTheSinkHasThem) {
  TestOracle oracle;
  const GradientQuery query = oracle.Query(60'000, "slow");  // 10 chunks, 3 read ahead
  const RowMajorMatrix expected = oracle.Expected(query);
  int64_t received = 0;
  const absl::Status status =
      Client(oracle.address())->Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
        absl::SleepFor(absl::Milliseconds(60));
        EXPECT_EQ(block, expected.middleRows(received, block.rows())) << "from " << received;
        received += block.rows();
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(received, query.count);
}

TEST(OracleClientTest, SinksStatusStopsTheStreamAndIsReturned) {
  TestOracle oracle;
  const auto client = Client(oracle.address());
  const Gathered gathered = Gather(*client, oracle.Query(1'000'000, "sink"), [](int64_t received) {
    return received > 10'000 ? MakeError(absl::StatusCode::kUnavailable, "FULL", "", "enough") : absl::OkStatus();
  });
  EXPECT_EQ(ErrorReason(gathered.status), "FULL") << "not resumed, though its code is UNAVAILABLE";
  EXPECT_EQ(gathered.blocks.size(), 2u);
}

TEST(OracleClientTest, RefusalsCarryReasonAndField) {
  TestOracle oracle;
  const auto client = Client(oracle.address());
  GradientQuery query = oracle.Query(1);
  query.batch_size = 31;
  for (const absl::Status& status : {Gather(*client, query).status, client->Gradient(query).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(ErrorReason(status), "BATCH_SIZE_TOO_SMALL");
    EXPECT_EQ(ErrorField(status), "batch_size");
  }
  // Nothing arrived is not "all 0 gradients arrived".
  EXPECT_EQ(ErrorReason(Gather(*client, oracle.Query(0)).status), "COUNT_NOT_POSITIVE");
}

TEST(OracleClientTest, UnreachableNamesTheTarget) {
  const auto client = Client("127.0.0.1:1");  // nothing listens there
  const absl::Status status = client->Info().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("127.0.0.1:1"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find("gradoracle-server"), absl::string_view::npos) << status;
  EXPECT_EQ(OracleClient::Create("", {}).status().code(), absl::StatusCode::kInvalidArgument);
}

// An oracle of one's own making, for what a sound one never does.
class FakeOracle : public v1::OracleService::Service {
 public:
  FakeOracle() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeOracle() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  std::function<grpc::Status(grpc::ServerContext*)> before_info = [](grpc::ServerContext*) { return grpc::Status::OK; };
  std::vector<v1::StreamGradientsResponse> chunks;
  std::atomic<bool> hang{false};
  std::atomic<int> streams{0};

  grpc::Status GetInfo(grpc::ServerContext* context, const v1::GetInfoRequest*,
                       v1::GetInfoResponse* response) override {
    const grpc::Status status = before_info(context);
    OracleInfo info;
    info.dimension = 2;
    info.row_count = 100;
    info.limits.max_batch_size = 100;
    *response = ToProto(info);
    return status;
  }
  grpc::Status StreamGradients(grpc::ServerContext* context, const v1::StreamGradientsRequest*,
                               grpc::ServerWriter<v1::StreamGradientsResponse>* writer) override {
    ++streams;
    for (const auto& chunk : chunks) writer->Write(chunk);
    while (hang && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::OK;
  }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

v1::StreamGradientsResponse Chunk(int64_t first, int64_t count, size_t bytes) {
  v1::StreamGradientsResponse chunk;
  chunk.set_first_gradient(first);
  chunk.set_gradient_count(count);
  chunk.set_gradients(std::string(bytes, '\0'));
  return chunk;
}

GradientQuery TwoDimensional(int64_t count) {
  GradientQuery query;
  query.weights = Eigen::Vector2d(0, 0);
  query.batch_size = 32;
  query.count = count;
  return query;
}

// A garbled stream must end in DATA_LOSS: silently accepted, it would be a wrong estimate; a negative or huge count, a
// wild allocation.
TEST(OracleClientTest, GarbledStreamsAreDataLoss) {
  struct Case {
    const char* name;
    std::vector<v1::StreamGradientsResponse> chunks;
    int64_t delivered;
  };
  const Case cases[] = {
      {"gap", {Chunk(0, 1, 16), Chunk(2, 1, 16)}, 1},
      {"repeat", {Chunk(0, 1, 16), Chunk(0, 1, 16)}, 1},
      {"empty chunk", {Chunk(0, 0, 0)}, 0},
      {"negative count", {Chunk(0, -1, 16)}, 0},
      {"too many", {Chunk(0, 4, 64)}, 0},
      {"short payload", {Chunk(0, 2, 31)}, 0},
      {"long payload", {Chunk(0, 1, 17)}, 0},
      {"payload of another dimension", {Chunk(0, 1, 32)}, 0},
      {"beyond the end", {Chunk(0, 3, 48), Chunk(3, 1, 16)}, 3},
      {"early end", {Chunk(0, 2, 32)}, 2},
      {"nothing", {}, 0},
      {"huge count", {Chunk(0, INT64_MAX, 16)}, 0},
  };
  for (const Case& c : cases) {
    FakeOracle oracle;
    oracle.chunks = c.chunks;
    const auto client = Client(oracle.address());
    const Gathered gathered = Gather(*client, TwoDimensional(3));
    EXPECT_EQ(gathered.status.code(), absl::StatusCode::kDataLoss) << c.name << ": " << gathered.status;
    EXPECT_EQ(gathered.gradients.rows(), c.delivered) << c.name;
    EXPECT_EQ(oracle.streams, 1) << c.name << " was retried";
  }
}

// A chunk larger than any sound oracle sends is refused by the receive limit, before it is stored.
TEST(OracleClientTest, OversizedChunksAreRefused) {
  FakeOracle oracle;
  oracle.chunks = {Chunk(0, 1'000'000, 16'000'000)};
  const Gathered gathered = Gather(*Client(oracle.address()), TwoDimensional(1'000'000));
  EXPECT_EQ(gathered.status.code(), absl::StatusCode::kResourceExhausted) << gathered.status;
}

TEST(OracleClientTest, UnavailableUnaryCallsAreRetried) {
  FakeOracle oracle;
  std::atomic<int> calls{0};
  oracle.before_info = [&](grpc::ServerContext*) {
    return ++calls < 3 ? grpc::Status(grpc::UNAVAILABLE, "busy") : grpc::Status::OK;
  };
  EXPECT_TRUE(Client(oracle.address())->Info().ok());
  EXPECT_EQ(calls, 3);
}

TEST(OracleClientTest, OtherErrorsAreNotRetried) {
  FakeOracle oracle;
  std::atomic<int> calls{0};
  oracle.before_info = [&](grpc::ServerContext*) {
    ++calls;
    return grpc::Status(grpc::RESOURCE_EXHAUSTED, "no");
  };
  EXPECT_EQ(Client(oracle.address())->Info().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(calls, 1);
}

TEST(OracleClientTest, DeadlineIncludesRetries) {
  FakeOracle oracle;
  oracle.before_info = [](grpc::ServerContext* context) {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status(grpc::UNAVAILABLE, "late");
  };
  OracleClientOptions options;
  options.deadline = absl::Milliseconds(300);
  const absl::Status status = Client(oracle.address(), options)->Info().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_EQ(ErrorReason(status), "ORACLE_TIMEOUT");
}

TEST(OracleClientTest, SilentStreamIsTakenAsBroken) {
  FakeOracle oracle;
  oracle.chunks = {Chunk(0, 1, 16)};
  oracle.hang = true;
  OracleClientOptions options;
  options.stall_timeout = absl::Milliseconds(200);
  options.max_resumptions = 0;
  const Gathered gathered = Gather(*Client(oracle.address(), options), TwoDimensional(3));
  EXPECT_EQ(gathered.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(gathered.status), "STREAM_STALLED");
}

// From another thread, while the stream is silent, while a unary call hangs, and before a call.
TEST(OracleClientTest, CancelledFlagStopsEveryWait) {
  FakeOracle oracle;
  oracle.chunks = {Chunk(0, 1, 16)};
  oracle.hang = true;
  std::atomic<bool> cancelled{false};
  OracleClientOptions options;
  options.cancelled = &cancelled;
  const auto client = Client(oracle.address(), options);
  ASSERT_TRUE(client->Info().ok());
  std::thread canceller;
  const Gathered gathered = Gather(*client, TwoDimensional(3), [&](int64_t) {
    canceller = std::thread([&] {
      absl::SleepFor(absl::Milliseconds(50));
      cancelled = true;
    });
    return absl::OkStatus();
  });
  canceller.join();
  EXPECT_EQ(gathered.status.code(), absl::StatusCode::kCancelled) << gathered.status;
  EXPECT_EQ(gathered.gradients.rows(), 1) << "what was gathered stays usable";
  EXPECT_EQ(client->Gradient(TwoDimensional(1)).status().code(), absl::StatusCode::kCancelled);

  FakeOracle slow;
  cancelled = false;
  slow.before_info = [&](grpc::ServerContext* context) {
    cancelled = true;
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  };
  EXPECT_EQ(Client(slow.address(), options)->Info().status().code(), absl::StatusCode::kCancelled);
}

// Two threads, one client: every stream gets its own bits.
TEST(OracleClientTest, ConcurrentStreamsDoNotMix) {
  TestOracle oracle;
  const auto client = Client(oracle.address());
  const GradientQuery queries[] = {oracle.Query(20'000, "a"), oracle.Query(20'000, "b"), oracle.Query(9'999, "c")};
  std::vector<std::thread> threads;
  for (const GradientQuery& query : queries) {
    threads.emplace_back([&, query] {
      const Gathered gathered = Gather(*client, query);
      EXPECT_TRUE(gathered.status.ok()) << gathered.status;
      EXPECT_EQ(gathered.gradients, oracle.Expected(query));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gradoracle
