#include "client/cli/run_program.h"

#include "client/cli/command_line.h"
#include "core/error_json.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

void PrintError(const absl::Status& status, bool json, Environment& environment) {
  environment.err << "gradoracle: " << status.message() << "\n";
  if (json) environment.out << ErrorJson(status, 2) << "\n";
}

}  // namespace

int RunProgram(const std::vector<std::string>& words, Environment& environment) {
  CommandLine command_line;
  Outcome outcome;
  if (absl::Status parsed = ParseCommandLine(words, command_line); !parsed.ok()) {
    outcome = UsageError(parsed);
  } else if (!command_line.text.empty()) {
    environment.out << command_line.text;
  } else {
    outcome = command_line.command->Run(environment);
    // Whatever failed after Ctrl-C, the reason is Ctrl-C.
    if (!outcome.status.ok() && environment.interrupted.load()) outcome.interrupted = true;
    if (outcome.interrupted && absl::IsCancelled(outcome.status) && !ErrorReason(outcome.status).has_value()) {
      outcome.status =
          MakeError(absl::StatusCode::kCancelled, "INTERRUPTED", "", "interrupted before there was a result");
    }
  }
  if (!outcome.status.ok()) PrintError(outcome.status, command_line.json && !outcome.reported, environment);
  environment.out.flush();
  if (!environment.out.good() && ExitCode(outcome) == 0) {
    environment.err << "gradoracle: cannot write to standard output\n";
    return 1;
  }
  return ExitCode(outcome);
}

}  // namespace gradoracle
