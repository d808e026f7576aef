#ifndef GRADORACLE_SERVER_OPERATIONS_REPORT_ERROR_H_
#define GRADORACLE_SERVER_OPERATIONS_REPORT_ERROR_H_

#include "absl/status/status.h"

namespace gradoracle {

enum ExitCode { kExitDone = 0, kExitFailed = 1, kExitConfiguration = 2 };

// 2 for what the owner set or named, the data file included: kInvalidArgument, kNotFound, kOutOfRange,
// kFailedPrecondition (a rule the data makes impossible), kResourceExhausted (data beyond the size limit),
// kPermissionDenied. 1 for the rest. Requires an error.
int ExitCodeFor(const absl::Status& error);

// Prints "gradoracle-server: MESSAGE" on stderr and, when `json`, ErrorJson (core/error_json.h) in one line on stdout.
void PrintError(const absl::Status& error, bool json);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_REPORT_ERROR_H_
