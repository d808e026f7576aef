#ifndef GRADORACLE_CLIENT_CLI_ARGUMENTS_H_
#define GRADORACLE_CLIENT_CLI_ARGUMENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace gradoracle {

enum class Verb { kInfo, kQuery, kEstimate };

// The command line of `gradoracle`, parsed. Whether an oracle accepts the numbers is the oracle's to say.
struct Arguments {
  Verb verb = Verb::kInfo;
  bool json = false;
  std::string oracle;  // HOST:PORT
  absl::Duration deadline = absl::Seconds(30);
  std::string weights;  // a .npy, or "zeros"
  int64_t batch_size = 0;
  std::optional<int64_t> count;  // only `estimate --from` may leave it out
  std::string out;
  std::string gradients_out;
  std::string from;
  double level = 0.95;
  std::optional<double> total_noise_variance;
};

// What a command line asks for: `text` (help or version) to be printed, or `arguments`.
struct CommandLine {
  std::string text;
  Arguments arguments;
};

// Parses `words`, without the program's name. On an error the status is kInvalidArgument, names the flag as its field
// where one is to blame, and `command_line.arguments.json` still tells whether the error should be printed as JSON.
absl::Status ParseCommandLine(const std::vector<std::string>& words, CommandLine& command_line);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_ARGUMENTS_H_
