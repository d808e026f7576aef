#ifndef GRADORACLE_CLIENT_CLI_PLAN_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_PLAN_COMMAND_H_

#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/command.h"
#include "client/cli/connection_flags.h"

namespace gradoracle {

// `gradoracle plan`: how many gradients an error limit needs. Spends none, but for a pilot.
class PlanCommand : public Command {
 public:
  std::string Name() const override { return "plan"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  int64_t batch_size = 0;
  double target_error = 0;
  double level = 0.95;
  std::optional<int64_t> pilot;
  std::string weights;  // with a pilot only
  std::optional<double> total_noise_variance;

 private:
  std::string typed_batch_size_;
  std::string typed_target_error_;
  std::string typed_level_;
  std::string typed_pilot_;
  std::string typed_total_noise_variance_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_PLAN_COMMAND_H_
