#ifndef GRADORACLE_CLIENT_CLI_COMMANDS_H_
#define GRADORACLE_CLIENT_CLI_COMMANDS_H_

#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "client/cli/exit_code.h"

namespace gradoracle {

// The verbs. Each prints its result on environment.out, as JSON or for people; errors are returned, not printed.
Outcome RunInfo(const Arguments& arguments, Environment& environment);
Outcome RunQuery(const Arguments& arguments, Environment& environment);
Outcome RunEstimate(const Arguments& arguments, Environment& environment);

// The whole program: parses `words` (without the program's name), runs the verb, prints errors (on err; with --json
// also
// {"error": {"code", "reason", "field"?, "message"}} on out) and returns the exit code.
int RunProgram(const std::vector<std::string>& words, Environment& environment);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_COMMANDS_H_
