#include "server/operations/report_error.h"

#include <iostream>

#include "core/error_json.h"

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

void PrintError(const absl::Status& error, bool json) {
  std::cerr << "gradoracle-server: " << error.message() << std::endl;
  if (json) std::cout << ErrorJson(error, -1) << std::endl;
}

}  // namespace gradoracle
