#ifndef GRADORACLE_CLIENT_CLI_ENVIRONMENT_H_
#define GRADORACLE_CLIENT_CLI_ENVIRONMENT_H_

#include <atomic>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/budget.h"
#include "core/gradient_source.h"

namespace gradoracle {

// How to reach an oracle; as OracleClientOptions, which says what each means.
struct ConnectionSettings {
  absl::Duration deadline = absl::Seconds(30);
  std::string token_file = {};
  std::string tls_ca = {};
  std::string tls_cert = {};
  std::string tls_key = {};
  bool insecure = false;
};

// Asks an oracle what its caller may spend and has spent.
using BudgetSource = std::function<absl::StatusOr<Budget>()>;

// Everything the program touches outside itself, so that tests can stand in for it.
struct Environment {
  std::ostream& out;      // results
  std::ostream& err;      // progress and errors
  bool progress = false;  // err is a terminal
  bool colour = false;    // out is a terminal, and NO_COLOR is unset
  // Set by Ctrl-C and by SIGTERM: to stop, with what was gathered written.
  const std::atomic<bool>& interrupted;
  std::function<absl::StatusOr<std::unique_ptr<GradientSource>>(const std::string& target,
                                                                const ConnectionSettings& settings)>
      connect;
  // For `budget`: how to ask once connected.
  std::function<absl::StatusOr<BudgetSource>(const std::string& target, const ConnectionSettings& settings)>
      connect_for_budget = {};
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_ENVIRONMENT_H_
