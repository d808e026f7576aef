#include "client/cli/run_program.h"

#include "client/cli/command_line.h"
#include "core/errors.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

void PrintError(const absl::Status& status, bool json, Environment& environment) {
  // Bytes of an error text may come from anywhere; JSON must stay JSON.
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  const std::string message(status.message());
  environment.err << "gradoracle: " << message << "\n";
  if (!json) return;
  nlohmann::ordered_json error = {{"code", absl::StatusCodeToString(status.code())},
                                  {"reason", ErrorReason(status).value_or("UNSPECIFIED")}};
  if (const std::optional<std::string> field = ErrorField(status); field.has_value()) error["field"] = *field;
  error["message"] = message;
  environment.out << nlohmann::ordered_json{{"error", error}}.dump(2, ' ', false, kReplace) << "\n";
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
    // A source that was told to stop says so; whatever it was doing, the reason is Ctrl-C.
    if (outcome.status.code() == absl::StatusCode::kCancelled && environment.interrupted.load()) {
      outcome.interrupted = true;
    }
  }
  if (!outcome.status.ok()) PrintError(outcome.status, command_line.json, environment);
  environment.out.flush();
  if (!environment.out.good() && ExitCode(outcome) == 0) {
    environment.err << "gradoracle: cannot write to standard output\n";
    return 1;
  }
  return ExitCode(outcome);
}

}  // namespace gradoracle
