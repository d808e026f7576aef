#ifndef GRADORACLE_CLIENT_CLI_RUN_PROGRAM_H_
#define GRADORACLE_CLIENT_CLI_RUN_PROGRAM_H_

#include <string>
#include <vector>

#include "client/cli/environment.h"

namespace gradoracle {

// The whole program: parses `words` (without the program's name), runs the verb, prints errors (on err; with --json
// also {"error": {"code", "reason", "field"?, "message"}} on out) and returns the exit code.
int RunProgram(const std::vector<std::string>& words, Environment& environment);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_RUN_PROGRAM_H_
