#ifndef GRADORACLE_CLIENT_CLI_AUDIT_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_AUDIT_COMMAND_H_

#include <optional>
#include <string>
#include <vector>

#include "client/audit/audit.h"
#include "client/cli/command.h"
#include "client/cli/connection_flags.h"
#include "client/cli/policy_flags.h"

namespace gradoracle {

// `gradoracle audit`: every known attack against the owner's data and policy, against a running oracle, or on recorded
// gradients; a report of what they learn.
class AuditCommand : public Command {
 public:
  std::string Name() const override { return "audit"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  PolicyFlags policy;
  AuditOptions options;
  std::string from;  // a recording
  std::string out;   // folder
  std::optional<double> fail_if_error_below;

 private:
  absl::StatusOr<AuditOutcome> RunAudit(Environment& environment, ErrorOrigin& origin);
  std::vector<std::string> Words() const;

  bool asks_oracle_ = false;
  std::string typed_batch_size_, typed_budget_, typed_repetitions_, typed_seconds_, typed_seed_, typed_threads_;
  std::string typed_fail_, typed_recommend_, typed_total_noise_variance_, typed_label_width_, typed_privacy_delta_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_AUDIT_COMMAND_H_
