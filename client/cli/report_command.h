#ifndef GRADORACLE_CLIENT_CLI_REPORT_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_REPORT_COMMAND_H_

#include <string>
#include <vector>

#include "client/cli/command.h"

namespace gradoracle {

// `gradoracle report`: the page of an audit's report.json, made again.
class ReportCommand : public Command {
 public:
  std::string Name() const override { return "report"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  std::vector<std::string> reports;  // exactly one, after Check
  std::string out;                   // after Check: where the page goes
  bool json = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_REPORT_COMMAND_H_
