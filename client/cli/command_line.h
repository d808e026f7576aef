#ifndef GRADORACLE_CLIENT_CLI_COMMAND_LINE_H_
#define GRADORACLE_CLIENT_CLI_COMMAND_LINE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/command.h"

namespace gradoracle {

// Every verb of the program, in the order of its help.
std::vector<std::unique_ptr<Command>> AllCommands();

// What a command line asks for: `text` (help or version) to be printed, or `command`, checked, to be run.
struct CommandLine {
  std::string text;
  std::unique_ptr<Command> command;
  bool json = false;  // known even when parsing fails half-way
};

// Parses `words`, without the program's name. On an error the status is kInvalidArgument and names the flag as its
// field where one is to blame.
absl::Status ParseCommandLine(const std::vector<std::string>& words, CommandLine& command_line);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_COMMAND_LINE_H_
