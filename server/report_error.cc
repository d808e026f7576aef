#include "server/report_error.h"

#include <iostream>

#include "core/errors.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

int ExitCodeFor(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kPermissionDenied:
      return kExitConfiguration;
    default:
      return kExitFailed;
  }
}

std::string ErrorJson(const absl::Status& error) {
  nlohmann::ordered_json body = {{"code", absl::StatusCodeToString(error.code())}};
  if (const auto reason = ErrorReason(error)) body["reason"] = *reason;
  if (const auto field = ErrorField(error)) body["field"] = *field;
  body["message"] = std::string(error.message());
  const nlohmann::ordered_json object = {{"error", body}};
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void PrintError(const absl::Status& error, bool json) {
  std::cerr << "gradoracle-server: " << error.message() << std::endl;
  if (json) std::cout << ErrorJson(error) << std::endl;
}

}  // namespace gradoracle
