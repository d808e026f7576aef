#ifndef GRADORACLE_CLIENT_CLI_QUERY_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_QUERY_COMMAND_H_

#include <string>

#include "client/cli/command.h"
#include "client/cli/connection_flags.h"
#include "client/cli/gradient_flags.h"

namespace gradoracle {

// `gradoracle query`: gradients into a .npy.
class QueryCommand : public Command {
 public:
  std::string Name() const override { return "query"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  GradientFlags gradients;
  std::string out;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_QUERY_COMMAND_H_
