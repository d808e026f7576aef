#ifndef GRADORACLE_CLIENT_CLI_EXIT_CODE_H_
#define GRADORACLE_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace gradoracle {

// Whose error it was.
enum class ErrorOrigin {
  kUsage,   // arguments, files and settings given to the program
  kOracle,  // answered by, or met on the way to, the oracle
  kRun,     // anything else while running
  kCheck,   // a check the user asked for did not hold: no error of anybody's
};

// How a verb ended.
struct Outcome {
  absl::Status status;
  ErrorOrigin origin = ErrorOrigin::kRun;
  bool interrupted = false;  // Ctrl-C; with an OK status what had been gathered was written
  // An error beside a result: the JSON on stdout holds it already, under `error`.
  bool reported = false;
};

inline Outcome UsageError(absl::Status status) { return {std::move(status), ErrorOrigin::kUsage}; }
inline Outcome OracleError(absl::Status status) { return {std::move(status), ErrorOrigin::kOracle}; }
inline Outcome RunError(absl::Status status) { return {std::move(status), ErrorOrigin::kRun}; }

// The exit code of the program, the contract of scripts:
//   0 done; 1 failed; 2 usage; 3 refused by the oracle; 4 oracle unreachable; 5 a check the user
//   asked for did not hold; 130 after Ctrl-C.
int ExitCode(const Outcome& outcome);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_EXIT_CODE_H_
