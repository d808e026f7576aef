#include "server/service/call_record.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "core/errors.h"
#include "nlohmann/json.hpp"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

constexpr size_t kTraceIdDigits = 32;

std::string TraceIdOf(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("traceparent");
  if (found == context.client_metadata().end()) return "";
  return gradoracle::TraceIdOf(absl::string_view(found->second.data(), found->second.size()));
}

std::string CodeName(absl::StatusCode code) {
  const std::string name = absl::StatusCodeToString(code);
  return name.empty() ? "UNKNOWN" : name;
}

}  // namespace

std::string TraceIdOf(absl::string_view traceparent) {
  // version (2) - trace-id (32) - parent-id (16) - flags (2)
  constexpr size_t kLength = 2 + 1 + kTraceIdDigits + 1 + 16 + 1 + 2;
  if (traceparent.size() < kLength || traceparent[2] != '-' || traceparent[35] != '-') return "";
  const absl::string_view id = traceparent.substr(3, kTraceIdDigits);
  const auto is_hexadecimal = [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(id.begin(), id.end(), is_hexadecimal)) return "";
  if (std::all_of(id.begin(), id.end(), [](char c) { return c == '0'; })) return "";
  return std::string(id);
}

CallRecord::CallRecord(const MethodName& name, const grpc::CallbackServerContext& context, Metrics* metrics)
    : name_(name),
      metrics_(metrics),
      begin_(std::chrono::steady_clock::now()),
      peer_(context.peer()),
      trace_id_(TraceIdOf(context)) {
  if (metrics_ != nullptr) metrics_->CallStarted(name_.service, name_.method, name_.type);
}

CallRecord::~CallRecord() {
  if (!finished_) Finish(absl::CancelledError("the call was cut"));
}

void CallRecord::AddSent(int64_t gradients, int64_t bytes) {
  gradients_ += gradients;
  bytes_ += bytes;
}

void CallRecord::Finish(const absl::Status& status) {
  finished_ = true;
  const absl::Duration duration = absl::FromChrono(std::chrono::steady_clock::now() - begin_);
  const std::string code = CodeName(status.code());
  if (metrics_ != nullptr) metrics_->CallHandled(name_.service, name_.method, name_.type, code, duration);
  nlohmann::ordered_json fields = {{"method", std::string(name_.method)},
                                   {"code", code},
                                   {"duration_ms", absl::ToInt64Microseconds(duration) / 1000.0}};
  if (const auto reason = ErrorReason(status)) fields["reason"] = *reason;
  if (!principal_.empty()) fields["client"] = principal_;
  fields["peer"] = peer_;
  if (!request_id_.empty()) fields["request_id"] = request_id_;
  if (!trace_id_.empty()) fields["trace_id"] = trace_id_;
  if (gradients_ > 0) fields["count"] = gradients_.load();
  if (bytes_ > 0) fields["bytes"] = bytes_.load();
  Log(LogLevel::kInfo, "call", fields);
}

}  // namespace gradoracle
