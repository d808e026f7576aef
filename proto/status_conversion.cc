#include "proto/status_conversion.h"

#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/errors.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace gradoracle {
namespace {

constexpr char kDomain[] = "gradoracle";
constexpr char kFieldKey[] = "field";
// How long a caller should wait before it asks a draining server's successor.
constexpr int kDrainRetrySeconds = 1;

static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) == static_cast<int>(grpc::UNAUTHENTICATED));

google::rpc::Status Details(const absl::Status& status, const std::optional<std::string>& reason,
                            const std::optional<std::string>& field);
using Metadata = google::protobuf::Map<std::string, std::string>;
void QuotaToMetadata(const Quota& quota, Metadata& metadata);
std::optional<Quota> QuotaFromMetadata(const Metadata& metadata);
absl::StatusCode CodeOf(grpc::StatusCode code);
void AddDetail(const google::protobuf::Message& detail, google::rpc::Status& details);

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());
  const std::string message(status.message());
  const std::optional<std::string> reason = ErrorReason(status);
  const std::optional<std::string> field = ErrorField(status);
  if (!reason.has_value() && !field.has_value()) return grpc::Status(code, message);
  return grpc::Status(code, message, Details(status, reason, field).SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const absl::StatusCode code = CodeOf(status.error_code());
  std::string reason;
  std::string field;
  std::optional<Quota> quota;
  google::rpc::Status details;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& any : details.details()) {
      google::rpc::ErrorInfo error;
      google::rpc::BadRequest bad;
      google::rpc::PreconditionFailure failure;
      if (any.UnpackTo(&error)) {
        if (error.domain() != kDomain) continue;
        reason = error.reason();
        if (const auto named = error.metadata().find(kFieldKey); named != error.metadata().end()) field = named->second;
        quota = QuotaFromMetadata(error.metadata());
      } else if (any.UnpackTo(&bad)) {
        if (bad.field_violations_size() > 0) field = bad.field_violations(0).field();
      } else if (any.UnpackTo(&failure)) {
        if (failure.violations_size() > 0) field = failure.violations(0).subject();
      }
    }
  }
  absl::Status result = MakeError(code, reason, field, status.error_message());
  if (quota.has_value()) SetErrorQuota(*quota, result);
  return result;
}

namespace {

google::rpc::Status Details(const absl::Status& status, const std::optional<std::string>& reason,
                            const std::optional<std::string>& field) {
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  google::rpc::ErrorInfo error;
  error.set_reason(reason.value_or(""));
  error.set_domain(kDomain);
  const bool bad_request =
      status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kOutOfRange;
  const bool precondition = status.code() == absl::StatusCode::kFailedPrecondition;
  if (field.has_value() && !bad_request && !precondition) (*error.mutable_metadata())[kFieldKey] = *field;
  const std::optional<Quota> quota = ErrorQuota(status);
  if (quota.has_value()) QuotaToMetadata(*quota, *error.mutable_metadata());
  AddDetail(error, details);
  if (quota.has_value()) {
    google::rpc::QuotaFailure failure;
    auto& violation = *failure.add_violations();
    violation.set_subject(reason.value_or(""));
    violation.set_description(std::string(status.message()));
    AddDetail(failure, details);
  }
  if (field.has_value() && bad_request) {
    google::rpc::BadRequest bad;
    auto& violation = *bad.add_field_violations();
    violation.set_field(*field);
    violation.set_description(std::string(status.message()));
    AddDetail(bad, details);
  }
  if (field.has_value() && precondition) {
    google::rpc::PreconditionFailure failure;
    auto& violation = *failure.add_violations();
    violation.set_type(reason.value_or(""));
    violation.set_subject(*field);
    violation.set_description(std::string(status.message()));
    AddDetail(failure, details);
  }
  if (status.code() == absl::StatusCode::kUnavailable && reason == "DRAINING") {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kDrainRetrySeconds);
    AddDetail(retry, details);
  }
  return details;
}

void QuotaToMetadata(const Quota& quota, Metadata& metadata) {
  metadata["limit"] = absl::StrCat(quota.limit);
  metadata["spent"] = absl::StrCat(quota.spent);
  metadata["requested"] = absl::StrCat(quota.requested);
  metadata["remaining"] = absl::StrCat(quota.remaining);
}

// All four or nothing.
std::optional<Quota> QuotaFromMetadata(const Metadata& metadata) {
  Quota quota;
  const auto read = [&](const char* key, int64_t& number) {
    const auto found = metadata.find(key);
    return found != metadata.end() && absl::SimpleAtoi(found->second, &number);
  };
  if (read("limit", quota.limit) && read("spent", quota.spent) && read("requested", quota.requested) &&
      read("remaining", quota.remaining)) {
    return quota;
  }
  return std::nullopt;
}

// Codes outside the sixteen are what absl and gRPC both call unknown.
absl::StatusCode CodeOf(grpc::StatusCode code) {
  if (code < grpc::OK || code > grpc::UNAUTHENTICATED) return absl::StatusCode::kUnknown;
  return static_cast<absl::StatusCode>(code);
}

void AddDetail(const google::protobuf::Message& detail, google::rpc::Status& details) {
  details.add_details()->PackFrom(detail);
}

}  // namespace
}  // namespace gradoracle
