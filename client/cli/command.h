#ifndef GRADORACLE_CLIENT_CLI_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_COMMAND_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/environment.h"
#include "client/cli/exit_code.h"
#include "client/cli/flag_set.h"

namespace gradoracle {

// One verb of the program: declares its flags, checks what was typed, runs. Used once, in this order.
class Command {
 public:
  virtual ~Command() = default;

  virtual std::string Name() const = 0;
  virtual std::string Description() const = 0;  // one line for the help
  virtual void AddFlags(FlagSet& flags) = 0;
  // Typed texts into values. Errors: kInvalidArgument, naming the flag as its field where one is to blame. Whether an
  // oracle accepts the numbers is the oracle's to say.
  virtual absl::Status Check() = 0;
  // Prints the result on environment.out, as JSON or for people; errors are returned, not printed.
  virtual Outcome Run(Environment& environment) = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_COMMAND_H_
