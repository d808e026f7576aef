#ifndef GRADORACLE_CLIENT_CLI_TRAIN_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_TRAIN_COMMAND_H_

#include <optional>
#include <string>

#include "client/cli/command.h"
#include "client/cli/connection_flags.h"
#include "client/cli/gradient_flags.h"
#include "client/optimise/trainer.h"

namespace gradoracle {

// `gradoracle train`: least squares from gradients alone, from one oracle or several.
class TrainCommand : public Command {
 public:
  std::string Name() const override { return "train"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  GradientFlags gradients;  // --weights: the start; --count: the most to spend
  TrainingOptions options;
  std::string out;
  std::string record;

 private:
  std::string typed_method_ = "auto";
  std::string typed_target_;
  std::string typed_step_size_;
  std::string typed_level_;
  std::string typed_total_noise_variance_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_TRAIN_COMMAND_H_
