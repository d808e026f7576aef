#include "client/cli/connection_flags.h"

#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/flag_values.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// gRPC takes nearly anything for an address: a port of 99999 wraps around to another one, a missing one means 443.
absl::Status CheckAddress(const std::string& oracle) {
  const size_t colon = oracle.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0 && oracle.find('/') == std::string::npos &&
      absl::SimpleAtoi(oracle.substr(colon + 1), &port) && port >= 1 && port <= 65535) {
    return absl::OkStatus();
  }
  return InvalidField("ORACLE_ADDRESS", "oracle",
                      absl::StrCat("oracle is '", oracle, "', but must be HOST:PORT with a port from 1 to 65535"));
}

// Not by CLI11: it applies a variable once for every verb that has the flag, also over the flag of the verb given.
void FromEnvironment(const char* variable, std::string& value) {
  const char* environment = std::getenv(variable);
  if (value.empty() && environment != nullptr) value = environment;
}

absl::Status ParseDeadline(const std::string& text, absl::Duration& deadline) {
  if (text.empty()) return absl::OkStatus();
  double seconds = 0;
  const bool plain = absl::SimpleAtod(text, &seconds);
  if (plain) deadline = absl::Seconds(seconds);
  if ((plain || absl::ParseDuration(text, &deadline)) && !std::isnan(seconds) && deadline > absl::ZeroDuration() &&
      deadline != absl::InfiniteDuration()) {
    return absl::OkStatus();
  }
  return InvalidField("DEADLINE_INVALID", "deadline",
                      absl::StrCat("deadline is '", text, "', but must be a positive number of seconds, or like 2m"));
}

}  // namespace

void ConnectionFlags::AddTo(FlagSet& flags) {
  flags.Text("--oracle", typed_oracle_, "Address of the oracle (default: GRADORACLE_ORACLE)", "HOST:PORT");
  AddOthersTo(flags);
}

void ConnectionFlags::AddSeveralTo(FlagSet& flags) {
  flags.Texts("--oracle", oracles_, "Address of an oracle; give it once for each (default: GRADORACLE_ORACLE)",
              "HOST:PORT");
  AddOthersTo(flags);
}

void ConnectionFlags::AddOthersTo(FlagSet& flags) {
  flags.Text("--deadline", typed_deadline_,
             "Seconds, or 500ms, 2m: longest wait for a unary call (default 30); a\n"
             "stream may take as long as gradients arrive, and counts as broken after 60 s without any",
             "TIME");
  flags.Switch("--json", json_, "Print one JSON object and nothing else");
  flags.Text("--token-file", settings_.token_file,
             "Holds the token that the owner of the oracle gave you (default:\n"
             "GRADORACLE_TOKEN_FILE)",
             "FILE");
  flags.Text("--tls-ca", settings_.tls_ca,
             "Use TLS, and trust an oracle that these certificates (PEM) vouch for; `system`:\n"
             "those this machine trusts (default: GRADORACLE_TLS_CA)",
             "FILE");
  flags.Text("--tls-cert", settings_.tls_cert, "Client certificate (PEM) to show (default: GRADORACLE_TLS_CERT)",
             "FILE");
  flags.Text("--tls-key", settings_.tls_key, "Its private key (default: GRADORACLE_TLS_KEY)", "FILE");
  flags.Switch("--insecure", settings_.insecure, "Send the token in plaintext, also to another machine");
}

absl::Status ConnectionFlags::Check() {
  GRADORACLE_RETURN_IF_ERROR(CheckIfGiven());
  return RequireValue(oracles_.empty() ? "" : oracles_.front(), "oracle", "--oracle HOST:PORT (or GRADORACLE_ORACLE)");
}

absl::Status ConnectionFlags::CheckIfGiven() {
  FromEnvironment("GRADORACLE_ORACLE", typed_oracle_);
  if (oracles_.empty() && !typed_oracle_.empty()) oracles_ = {typed_oracle_};
  for (const std::string& oracle : oracles_) GRADORACLE_RETURN_IF_ERROR(CheckAddress(oracle));
  FromEnvironment("GRADORACLE_TOKEN_FILE", settings_.token_file);
  FromEnvironment("GRADORACLE_TLS_CA", settings_.tls_ca);
  FromEnvironment("GRADORACLE_TLS_CERT", settings_.tls_cert);
  FromEnvironment("GRADORACLE_TLS_KEY", settings_.tls_key);
  return ParseDeadline(typed_deadline_, settings_.deadline);
}

}  // namespace gradoracle
