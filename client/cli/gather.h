#ifndef GRADORACLE_CLIENT_CLI_GATHER_H_
#define GRADORACLE_CLIENT_CLI_GATHER_H_

#include <cstdint>
#include <string>

#include "client/cli/environment.h"
#include "client/cli/exit_code.h"
#include "core/gradient_source.h"

namespace gradoracle {

// What came of asking a source for gradients.
struct Gathered {
  int64_t count = 0;
  int64_t dimension = 0;
  double seconds = 0;  // from the request to the last gradient taken in
  // Not OK when the source or the sink failed. After Ctrl-C: OK and interrupted, if at least one gradient had come.
  Outcome outcome;
};

// Sends `query` and hands every block to `sink`, with progress on a terminal and Ctrl-C looked at between blocks.
// `origin` says whose errors those of `source` are; those of `sink` are kRun.
Gathered Gather(GradientSource& source, const GradientQuery& query, GradientSink sink, ErrorOrigin origin,
                Environment& environment);

// The weights `text` names: "zeros", for `dimension` zeros, or a .npy. Errors: those of ReadNpyVector, field `weights`.
absl::StatusOr<Eigen::VectorXd> ReadWeights(const std::string& text, int64_t dimension);

// "; 512 of 4096 gradients had arrived": what to add to the message of an error midway. Empty when none had.
std::string HowFar(const Gathered& gathered, int64_t count);

// `status` with `suffix` added to its message; reason and field stay.
absl::Status WithSuffix(const absl::Status& status, const std::string& suffix);

// `status` as the error of `field`; the reason stays. For errors of files, which do not know what flag named them.
absl::Status WithField(const absl::Status& status, const std::string& field);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_GATHER_H_
