#ifndef GRADORACLE_CLIENT_CLI_BUDGET_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_BUDGET_COMMAND_H_

#include <string>

#include "client/audit/audit.h"
#include "client/cli/command.h"
#include "client/cli/connection_flags.h"

namespace gradoracle {

// `gradoracle budget`: what the caller may spend at the oracle, and has spent; with --leakage, what that tells of the
// data.
class BudgetCommand : public Command {
 public:
  std::string Name() const override { return "budget"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  bool leakage = false;

 private:
  std::string typed_label_width_, typed_privacy_delta_;
  AuditOptions accounts_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_BUDGET_COMMAND_H_
