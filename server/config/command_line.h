#ifndef GRADORACLE_SERVER_CONFIG_COMMAND_LINE_H_
#define GRADORACLE_SERVER_CONFIG_COMMAND_LINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/resolve_config.h"
#include "server/config/token_command.h"

namespace gradoracle {

enum class Verb { kServe, kInspect, kHealthcheck, kCheckConfig, kToken, kVerifyAuditLog };

// What the owner typed. Nothing is read or checked but the shape of the command line.
struct CommandLine {
  Verb verb = Verb::kServe;
  FlagValues flags;  // settings, and "config"
  bool json = false;
  // Of `inspect` only; empty: not asked for.
  std::string hessian_out;
  std::string scaling_out;
  std::string compare;
  // Of `audit-log verify` only: the file.
  std::string audit_log;
  TokenCommand token;  // of `token` only
  // Not empty: --help or --version was given; print this and exit 0.
  std::string text_to_print;
};

// Errors: kInvalidArgument USAGE (unknown flag or verb, missing value).
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

// Whether `word` (--json, a verb) stands anywhere on a command line: how to report an error in parsing that very line.
bool HasWord(int argc, const char* const* argv, absl::string_view word);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_COMMAND_LINE_H_
