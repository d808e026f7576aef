#ifndef GRADORACLE_CLIENT_CLI_MERGE_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_MERGE_COMMAND_H_

#include <string>
#include <vector>

#include "client/cli/command.h"

namespace gradoracle {

// `gradoracle merge`: one estimate from what several runs of `estimate --state` gathered.
class MergeCommand : public Command {
 public:
  std::string Name() const override { return "merge"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  std::vector<std::string> states;
  std::string out;
  std::string merged;  // --state
  double level = 0.95;
  bool json = false;

 private:
  std::string typed_level_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_MERGE_COMMAND_H_
