#ifndef GRADORACLE_CLIENT_CLI_RISK_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_RISK_COMMAND_H_

#include <string>

#include "client/cli/command.h"
#include "client/cli/connection_flags.h"
#include "client/cli/gradient_flags.h"
#include "client/risk/risk_estimate.h"

namespace gradoracle {

// `gradoracle risk`: standard, excess and adversarial risk of a model, from gradients alone.
class RiskCommand : public Command {
 public:
  std::string Name() const override { return "risk"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  GradientFlags gradients;
  RiskOptions options;

 private:
  std::string typed_radius_;
  std::string typed_norm_ = "l2";
  std::string typed_level_;
  std::string typed_largest_kurtosis_;
  std::string typed_target_second_moment_;
  std::string typed_total_noise_variance_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_RISK_COMMAND_H_
