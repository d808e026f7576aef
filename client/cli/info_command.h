#ifndef GRADORACLE_CLIENT_CLI_INFO_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_INFO_COMMAND_H_

#include "client/cli/command.h"
#include "client/cli/connection_flags.h"

namespace gradoracle {

// `gradoracle info`: what the oracle says about itself.
class InfoCommand : public Command {
 public:
  std::string Name() const override { return "info"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override { return connection.Check(); }
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_INFO_COMMAND_H_
