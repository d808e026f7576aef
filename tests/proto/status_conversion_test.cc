#include "proto/status_conversion.h"

#include <memory>
#include <string>
#include <vector>

#include "core/errors.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

struct Row {
  absl::StatusCode absl_code;
  grpc::StatusCode grpc_code;
};
constexpr Row kRows[] = {
    {absl::StatusCode::kCancelled, grpc::CANCELLED},
    {absl::StatusCode::kUnknown, grpc::UNKNOWN},
    {absl::StatusCode::kInvalidArgument, grpc::INVALID_ARGUMENT},
    {absl::StatusCode::kDeadlineExceeded, grpc::DEADLINE_EXCEEDED},
    {absl::StatusCode::kNotFound, grpc::NOT_FOUND},
    {absl::StatusCode::kAlreadyExists, grpc::ALREADY_EXISTS},
    {absl::StatusCode::kPermissionDenied, grpc::PERMISSION_DENIED},
    {absl::StatusCode::kResourceExhausted, grpc::RESOURCE_EXHAUSTED},
    {absl::StatusCode::kFailedPrecondition, grpc::FAILED_PRECONDITION},
    {absl::StatusCode::kAborted, grpc::ABORTED},
    {absl::StatusCode::kOutOfRange, grpc::OUT_OF_RANGE},
    {absl::StatusCode::kUnimplemented, grpc::UNIMPLEMENTED},
    {absl::StatusCode::kInternal, grpc::INTERNAL},
    {absl::StatusCode::kUnavailable, grpc::UNAVAILABLE},
    {absl::StatusCode::kDataLoss, grpc::DATA_LOSS},
    {absl::StatusCode::kUnauthenticated, grpc::UNAUTHENTICATED},
};
static_assert(std::size(kRows) == 16);

absl::Status SomeError(absl::StatusCode code) {
  return MakeError(code, "SOME_REASON", "some_field", "some_field is 3, must be 4: \xC3\xA9 % \n end");
}

template <typename Detail>
std::vector<Detail> DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  std::vector<Detail> found;
  for (const auto& any : details.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) found.push_back(detail);
  }
  return found;
}

// Catches a code that maps to its neighbour, and a reason or field lost for some codes only.
TEST(StatusConversionTest, AllSixteenCodesBothWays) {
  for (const Row& row : kRows) {
    const absl::Status status = SomeError(row.absl_code);
    const grpc::Status wire = ToGrpcStatus(status);
    EXPECT_EQ(wire.error_code(), row.grpc_code);
    EXPECT_EQ(wire.error_message(), status.message());
    EXPECT_EQ(FromGrpcStatus(wire), status) << "payloads included";
    EXPECT_EQ(FromGrpcStatus(grpc::Status(row.grpc_code, "m")), absl::Status(row.absl_code, "m"));
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusConversionTest, ReasonOrFieldAloneSurvive) {
  for (const Row& row : kRows) {
    for (const absl::Status& status : {MakeError(row.absl_code, "R", "", "m"), MakeError(row.absl_code, "", "f", "m"),
                                       MakeError(row.absl_code, "", "", "m")}) {
      EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
    }
  }
}

// The standard details are what clients in other languages read.
TEST(StatusConversionTest, DetailsAreGoogleRpc) {
  for (const Row& row : kRows) {
    const grpc::Status wire = ToGrpcStatus(SomeError(row.absl_code));
    google::rpc::Status envelope;
    ASSERT_TRUE(envelope.ParseFromString(wire.error_details()));
    EXPECT_EQ(envelope.code(), static_cast<int>(row.grpc_code));
    EXPECT_EQ(envelope.message(), wire.error_message());
    const auto infos = DetailsOf<google::rpc::ErrorInfo>(wire);
    ASSERT_EQ(infos.size(), 1u);
    EXPECT_EQ(infos[0].reason(), "SOME_REASON");
    EXPECT_EQ(infos[0].domain(), "gradoracle");
    const auto bad = DetailsOf<google::rpc::BadRequest>(wire);
    const auto preconditions = DetailsOf<google::rpc::PreconditionFailure>(wire);
    if (row.grpc_code == grpc::INVALID_ARGUMENT || row.grpc_code == grpc::OUT_OF_RANGE) {
      ASSERT_EQ(bad.size(), 1u);
      EXPECT_EQ(bad[0].field_violations(0).field(), "some_field");
      EXPECT_TRUE(preconditions.empty());
      EXPECT_EQ(infos[0].metadata_size(), 0);
    } else if (row.grpc_code == grpc::FAILED_PRECONDITION) {
      ASSERT_EQ(preconditions.size(), 1u);
      EXPECT_EQ(preconditions[0].violations(0).type(), "SOME_REASON");
      EXPECT_EQ(preconditions[0].violations(0).subject(), "some_field");
      EXPECT_TRUE(bad.empty());
    } else {
      EXPECT_TRUE(bad.empty());
      EXPECT_TRUE(preconditions.empty());
      EXPECT_EQ(infos[0].metadata().at("field"), "some_field");
    }
  }
}

TEST(StatusConversionTest, DrainingSaysWhenToTryAgain) {
  const auto retry = DetailsOf<google::rpc::RetryInfo>(
      ToGrpcStatus(MakeError(absl::StatusCode::kUnavailable, "DRAINING", "", "shutting down")));
  ASSERT_EQ(retry.size(), 1u);
  EXPECT_GE(retry[0].retry_delay().seconds(), 1);
}

// Others' statuses keep code and message, whatever else they carry.
TEST(StatusConversionTest, ForeignDetailsAreIgnored) {
  const grpc::Status garbled(grpc::ABORTED, "m", std::string("\xFF\x01garbage"));
  EXPECT_EQ(FromGrpcStatus(garbled), absl::Status(absl::StatusCode::kAborted, "m"));
  google::rpc::ErrorInfo info;
  info.set_reason("THEIRS");
  info.set_domain("example.com");
  (*info.mutable_metadata())["field"] = "theirs";
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  auto& truncated = *details.add_details();
  truncated.set_type_url("type.googleapis.com/google.rpc.BadRequest");
  truncated.set_value("\x0A\x7F");
  const grpc::Status foreign(grpc::ABORTED, "m", details.SerializeAsString());
  EXPECT_EQ(FromGrpcStatus(foreign), absl::Status(absl::StatusCode::kAborted, "m"));
  const grpc::Status unheard(static_cast<grpc::StatusCode>(17), "m");
  EXPECT_EQ(FromGrpcStatus(unheard).code(), absl::StatusCode::kUnknown);
}

// Answers every call with the code asked for as batch_size: unary, and a stream after one message.
class FailingService final : public v1::OracleService::Service {
  grpc::Status GetGradient(grpc::ServerContext*, const v1::GetGradientRequest* request,
                           v1::GetGradientResponse*) override {
    return ToGrpcStatus(SomeError(static_cast<absl::StatusCode>(request->batch_size())));
  }
  grpc::Status StreamGradients(grpc::ServerContext*, const v1::StreamGradientsRequest* request,
                               grpc::ServerWriter<v1::StreamGradientsResponse>* writer) override {
    writer->Write(v1::StreamGradientsResponse());
    return ToGrpcStatus(SomeError(static_cast<absl::StatusCode>(request->batch_size())));
  }
};

// Catches details that do not fit a trailer, or a transport that rewrites a code.
TEST(StatusConversionTest, AllSixteenSurviveTheTransport) {
  FailingService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  for (const auto& channel : {server->InProcessChannel({}), grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                                                grpc::InsecureChannelCredentials())}) {
    const auto stub = v1::OracleService::NewStub(channel);
    for (const Row& row : kRows) {
      v1::GetGradientRequest request;
      request.set_batch_size(static_cast<int64_t>(row.absl_code));
      v1::GetGradientResponse response;
      grpc::ClientContext context;
      EXPECT_EQ(FromGrpcStatus(stub->GetGradient(&context, request, &response)), SomeError(row.absl_code));

      v1::StreamGradientsRequest stream_request;
      stream_request.set_batch_size(request.batch_size());
      grpc::ClientContext stream_context;
      const auto reader = stub->StreamGradients(&stream_context, stream_request);
      v1::StreamGradientsResponse chunk;
      EXPECT_TRUE(reader->Read(&chunk));
      EXPECT_FALSE(reader->Read(&chunk));
      EXPECT_EQ(FromGrpcStatus(reader->Finish()), SomeError(row.absl_code));
    }
  }
}

TEST(StatusConversionTest, QuotasBothWays) {
  const Quota quota = {.limit = 9007199254740993, .spent = 9007199254740990, .requested = 5, .remaining = 3};
  const absl::Status status = MakeQuotaError("BUDGET_EXHAUSTED", "the budget of 'alice'", quota);
  const grpc::Status wire = ToGrpcStatus(status);
  EXPECT_EQ(FromGrpcStatus(wire), status);
  EXPECT_EQ(*ErrorQuota(FromGrpcStatus(wire)), quota);
  const auto failures = DetailsOf<google::rpc::QuotaFailure>(wire);
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].violations(0).description(), std::string(status.message()));
  const auto infos = DetailsOf<google::rpc::ErrorInfo>(wire);
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].metadata().at("requested"), "5");
}

// Numbers from elsewhere: all four or none.
TEST(StatusConversionTest, HalfAQuotaIsNone) {
  google::rpc::ErrorInfo info;
  info.set_domain("gradoracle");
  info.set_reason("BUDGET_EXHAUSTED");
  for (const char* key : {"limit", "spent", "requested"}) (*info.mutable_metadata())[key] = "1";
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  EXPECT_FALSE(ErrorQuota(FromGrpcStatus({grpc::RESOURCE_EXHAUSTED, "x", details.SerializeAsString()})).has_value());
  (*info.mutable_metadata())["remaining"] = "many";
  details.mutable_details(0)->PackFrom(info);
  EXPECT_FALSE(ErrorQuota(FromGrpcStatus({grpc::RESOURCE_EXHAUSTED, "x", details.SerializeAsString()})).has_value());
}

}  // namespace
}  // namespace gradoracle
