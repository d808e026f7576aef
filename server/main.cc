#include <sys/prctl.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/error_json.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/config/check_config.h"
#include "server/config/command_line.h"
#include "server/config/resolve_config.h"
#include "server/healthcheck.h"
#include "server/identity/tls_files.h"
#include "server/inspect.h"
#include "server/ledger/audit_log.h"
#include "server/operations/log.h"
#include "server/operations/report_error.h"
#include "server/operations/signals.h"
#include "server/owner/token_verbs.h"
#include "server/serve.h"

namespace gradoracle {
namespace {

constexpr absl::Duration kHealthcheckTimeout = absl::Seconds(3);

// The process holds private rows and the secret its noise comes from: no core dumps, no ptrace by its own user, and no
// tracing of gRPC, which would print callers' credentials.
void Harden() {
  unsetenv("GRPC_VERBOSITY");
  unsetenv("GRPC_TRACE");
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

// Prints a result and says whether it arrived.
int Print(const std::string& text) {
  std::cout << text << std::flush;
  if (std::cout) return kExitDone;
  PrintError(absl::DataLossError("the result cannot be written to stdout"), /*json=*/false);
  return kExitFailed;
}

int RunServe(const ServerConfig& config, const FlagValues& flags, bool json) {
  BlockSignals();
  std::signal(SIGPIPE, SIG_IGN);  // a log nobody reads must not end the service
  StartLog(config.log_level, config.log_format);
  const absl::Status status = Serve(config, [&flags]() -> absl::StatusOr<ServerConfig> {
    GRADORACLE_ASSIGN_OR_RETURN(ResolvedConfig resolved, ResolveConfig(flags, ProcessEnvironment()));
    return std::move(resolved.config);
  });
  if (status.ok()) return kExitDone;
  if (config.log_format == "json") {
    Log(LogLevel::kError, std::string(status.message()),
        {{"reason", ErrorReason(status).value_or("")}, {"field", ErrorField(status).value_or("")}});
    if (json) std::cout << ErrorJson(status, -1) << std::endl;
  } else {
    PrintError(status, json);
  }
  return ExitCodeFor(status);
}

int RunInspect(const ServerConfig& config, const CommandLine& line) {
  const absl::StatusOr<nlohmann::ordered_json> result =
      Inspect(config, {.hessian_out = line.hessian_out, .scaling_out = line.scaling_out, .compare = line.compare});
  if (!result.ok()) {
    PrintError(result.status(), line.json);
    return ExitCodeFor(result.status());
  }
  return Print(result->dump(line.json ? -1 : 2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

int RunHealthcheck(const ServerConfig& config, bool json) {
  StartLog("error", "text");  // of gRPC: one line that says what is wrong is enough
  if (const absl::Status status = Healthcheck(config, kHealthcheckTimeout); !status.ok()) {
    PrintError(status, json);
    return kExitFailed;
  }
  return Print(json ? "{\"status\":\"SERVING\"}\n" : "SERVING\n");
}

int RunCheckConfig(const ResolvedConfig& resolved, bool json) {
  absl::Status status = CheckConfig(resolved.config);
  if (status.ok() && !resolved.config.tls_cert.empty()) {
    status = ReadTlsFiles(TlsFilesOf(resolved.config), absl::Now()).status();
  }
  if (!status.ok()) {
    PrintError(status, json);
    return ExitCodeFor(status);
  }
  return Print(json ? FormatConfigJson(resolved) + "\n" : FormatConfig(resolved));
}

int RunVerifyAuditLog(const CommandLine& line) {
  const absl::StatusOr<AuditSummary> summary = VerifyAuditLog(line.audit_log);
  if (!summary.ok()) {
    PrintError(summary.status(), line.json);
    return ExitCodeFor(summary.status());
  }
  const nlohmann::ordered_json result = {{"records", summary->records},
                                         {"last_hash", summary->last_hash},
                                         {"torn_bytes", summary->torn_bytes},
                                         {"spent", summary->spent}};
  return Print(result.dump(line.json ? -1 : 2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

int RunToken(const ServerConfig& config, const CommandLine& line) {
  StartLog("error", "text");  // of gRPC and the ledger: the result, or one line that says what is wrong, is enough
  const absl::StatusOr<TokenResult> result =
      RunTokenCommand(line.token, {.location = config.ledger, .audit_log = config.audit_log}, absl::Now());
  if (!result.ok()) {
    PrintError(result.status(), line.json);
    return ExitCodeFor(result.status());
  }
  return Print(line.json ? result->json.dump() + "\n" : result->text);
}

// A container's HEALTHCHECK knows 0 and 1 only, also for a line that cannot be read.
int Run(int argc, const char* const* argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    PrintError(line.status(), HasWord(argc, argv, "--json"));
    return HasWord(argc, argv, "healthcheck") ? kExitFailed : ExitCodeFor(line.status());
  }
  if (!line->text_to_print.empty()) return Print(line->text_to_print);
  if (line->verb == Verb::kVerifyAuditLog) return RunVerifyAuditLog(*line);
  const absl::StatusOr<ResolvedConfig> resolved = ResolveConfig(line->flags, ProcessEnvironment());
  if (!resolved.ok()) {
    PrintError(resolved.status(), line->json);
    return line->verb == Verb::kHealthcheck ? kExitFailed : ExitCodeFor(resolved.status());
  }
  switch (line->verb) {
    case Verb::kServe:
      return RunServe(resolved->config, line->flags, line->json);
    case Verb::kInspect:
      return RunInspect(resolved->config, *line);
    case Verb::kHealthcheck:
      return RunHealthcheck(resolved->config, line->json);
    case Verb::kCheckConfig:
      return RunCheckConfig(*resolved, line->json);
    case Verb::kToken:
      return RunToken(resolved->config, *line);
    case Verb::kVerifyAuditLog:
      break;  // above: it takes no settings
  }
  return kExitFailed;
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  gradoracle::Harden();
  return gradoracle::Run(argc, argv);
}
