#include "client/cli/exit_code.h"

namespace gradoracle {

int ExitCode(const Outcome& outcome) {
  if (outcome.interrupted) return 130;
  if (outcome.status.ok()) return 0;
  if (outcome.origin == ErrorOrigin::kUsage) return 2;
  if (outcome.origin == ErrorOrigin::kRun) return 1;
  if (outcome.origin == ErrorOrigin::kCheck) return 5;
  switch (outcome.status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kAlreadyExists:
      return 3;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return 4;
    default:
      return 1;
  }
}

}  // namespace gradoracle
