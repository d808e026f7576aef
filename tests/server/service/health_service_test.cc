#include "server/service/health_service.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

struct HealthServiceTest : testing::Test {
  grpc::Status Check(const std::string& service, HealthCheckResponse::ServingStatus* status) {
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    grpc::ClientContext context;
    const grpc::Status result = stub->Check(&context, request, &response);
    *status = response.status();
    return result;
  }
  HealthCheckResponse::ServingStatus StatusOf(const std::string& service) {
    HealthCheckResponse::ServingStatus status;
    EXPECT_TRUE(Check(service, &status).ok());
    return status;
  }

  TestOracle oracle;
  std::unique_ptr<Health::Stub> stub = Health::NewStub(oracle.Tcp());
};

// One open Watch.
struct Watch {
  Watch(Health::Stub& stub, const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    reader = stub.Watch(&context, request);
  }
  int Next() {
    HealthCheckResponse response;
    return reader->Read(&response) ? static_cast<int>(response.status()) : -1;
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
};

// A server that reports ready before it is, or never stops to, sends callers to a wall.
TEST_F(HealthServiceTest, CheckFollowsTheStatusPerService) {
  EXPECT_EQ(StatusOf(""), HealthCheckResponse::NOT_SERVING) << "until told otherwise";
  EXPECT_EQ(StatusOf(OracleService::kName), HealthCheckResponse::NOT_SERVING);
  oracle.health().SetServing("", true);
  EXPECT_EQ(StatusOf(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(StatusOf(OracleService::kName), HealthCheckResponse::NOT_SERVING) << "services are apart";
  oracle.health().SetServing(OracleService::kName, true);
  EXPECT_EQ(StatusOf(OracleService::kName), HealthCheckResponse::SERVING);
  oracle.health().SetServing(OracleService::kName, false);
  EXPECT_EQ(StatusOf(OracleService::kName), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(StatusOf(""), HealthCheckResponse::SERVING);
}

// Would catch callers who are sent to a server that refuses everything, and a process restarted for its database's
// sake.
TEST_F(HealthServiceTest, TheServiceFollowsTheLedger) {
  oracle.health().SetServing("", true);
  oracle.health().SetLedgerWorks(false);
  oracle.health().SetServing(OracleService::kName, true);
  EXPECT_EQ(StatusOf(OracleService::kName), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(StatusOf(""), HealthCheckResponse::SERVING);
  Watch watch(*stub, OracleService::kName);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  oracle.health().SetLedgerWorks(true);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  oracle.health().SetLedgerWorks(false);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  oracle.health().SetServing(OracleService::kName, false);  // draining wins
  oracle.health().SetLedgerWorks(true);
  EXPECT_EQ(StatusOf(OracleService::kName), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, UnknownServiceIsNotFound) {
  HealthCheckResponse::ServingStatus status;
  EXPECT_EQ(Check("gradoracle.v1.Nothing", &status).error_code(), grpc::NOT_FOUND);
  oracle.health().SetServing("gradoracle.v1.Nothing", true);
  EXPECT_EQ(Check("gradoracle.v1.Nothing", &status).error_code(), grpc::NOT_FOUND) << "only known services can be set";
}

TEST_F(HealthServiceTest, WatchReportsNowAndEveryChange) {
  Watch watch(*stub, OracleService::kName);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  oracle.health().SetServing("", true);  // another service: not reported
  oracle.health().SetServing(OracleService::kName, true);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  oracle.health().SetServing(OracleService::kName, true);  // no change: not reported
  oracle.health().SetServing(OracleService::kName, false);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
}

// The protocol demands an open stream that says SERVICE_UNKNOWN, not an error.
TEST_F(HealthServiceTest, WatchOfAnUnknownServiceStaysOpen) {
  Watch watch(*stub, "gradoracle.v1.Nothing");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  watch.context.TryCancel();
  EXPECT_EQ(watch.Next(), -1);
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::CANCELLED);
}

// A watcher left open would hold the server's shutdown up to its deadline.
TEST_F(HealthServiceTest, ShutdownTellsWatchersAndEndsTheirStreams) {
  oracle.health().SetServing("", true);
  Watch watch(*stub, "");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  oracle.health().Shutdown();
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(watch.Next(), -1);
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::UNAVAILABLE);
  oracle.health().SetServing("", true);
  EXPECT_EQ(StatusOf(""), HealthCheckResponse::NOT_SERVING) << "for good";
}

// Watchers come and go while the status flips: TSan and ASan look at the lifetimes here; a lost last update hangs.
TEST_F(HealthServiceTest, ManyWatchersWhileTheStatusFlips) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 25; ++round) {
        Watch watch(*stub, "");
        EXPECT_NE(watch.Next(), -1);
        watch.context.TryCancel();
      }
      Watch last(*stub, "");
      while (last.Next() != HealthCheckResponse::SERVICE_UNKNOWN) {
        HealthCheckResponse::ServingStatus status;
        EXPECT_TRUE(Check("", &status).ok());
        if (status == HealthCheckResponse::SERVING) break;
      }
    });
  }
  for (int flip = 0; flip < 201; ++flip) oracle.health().SetServing("", flip % 2 == 0);
  for (std::thread& thread : threads) thread.join();
}

// What grpcurl does, by hand: reflection v1alpha with raw protobuf bytes (Debian ships no client header for it).
std::string Reflect(TestOracle& oracle, const std::string& request_bytes, grpc::Status* status) {
  grpc::GenericStub stub(oracle.Tcp());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto tag = [](intptr_t i) { return reinterpret_cast<void*>(i); };
  const auto next = [&] {
    void* got = nullptr;
    bool ok = false;
    queue.Next(&got, &ok);
    return ok;
  };
  auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(tag(1));
  next();
  const grpc::Slice slice(request_bytes);
  call->Write(grpc::ByteBuffer(&slice, 1), tag(2));
  std::string answer;
  if (next()) {
    grpc::ByteBuffer buffer;
    call->Read(&buffer, tag(3));
    if (next()) {
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(buffer.Dump(&slices).ok());
      for (const grpc::Slice& part : slices) answer.append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
    call->WritesDone(tag(4));
    next();
  }
  call->Finish(status, tag(5));
  next();
  return answer;
}

TEST_F(HealthServiceTest, ReflectionListsAndDescribesHealth) {
  grpc::Status status;
  const std::string services = Reflect(oracle, std::string("\x3A\x00", 2), &status);  // list_services = ""
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_NE(services.find("grpc.health.v1.Health"), std::string::npos) << services;
  EXPECT_NE(services.find("gradoracle.v1.OracleService"), std::string::npos) << services;
  const std::string symbol = "grpc.health.v1.Health";
  const std::string described =
      Reflect(oracle, absl::StrCat("\x22", std::string(1, static_cast<char>(symbol.size())), symbol), &status);
  EXPECT_NE(described.find("grpc/health/v1/health.proto"), std::string::npos) << described;
  EXPECT_NE(described.find("NOT_SERVING"), std::string::npos) << described;
}

TEST(ReflectionTest, CanBeSwitchedOffPerServer) {
  TestOracle::Options options;
  options.reflection = false;
  TestOracle silent(options);
  grpc::Status status;
  EXPECT_EQ(Reflect(silent, std::string("\x3A\x00", 2), &status), "");
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
}

}  // namespace
}  // namespace gradoracle
