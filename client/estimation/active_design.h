#ifndef GRADORACLE_CLIENT_ESTIMATION_ACTIVE_DESIGN_H_
#define GRADORACLE_CLIENT_ESTIMATION_ACTIVE_DESIGN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/estimation/design_pairs.h"
#include "client/estimation/estimation_run.h"

// How the estimator `active` asks; the rule of `auto` shares its beginning.
namespace gradoracle {

// R: limits.max_weights_norm; for standardised features no more than 100 sqrt(n), beyond which nothing is gained
// (noise and w* are then below a percent of the residuals' spread that the design itself makes).
double DesignRadius(const OracleInfo& info, int64_t batch_size);

// Gradients that a design of this dimension takes at least, 4d: 2 at each of 2 points a direction; and those that one
// begun still lacks.
int64_t FewestDesignGradients(int64_t dimension);
int64_t MissingGradients(const DesignPairs& design);

// OK when a design's frame, sums and error limit fit the memory. Errors: kResourceExhausted MEMORY_EXCEEDED.
absl::Status CheckDesignMemory(int64_t dimension);

// `pairs` more pairs of direction j, by two requests; none when the run is stopped between them.
absl::Status AskPairs(const EstimationRun& run, const NoiseChoice& noise, int64_t direction, int64_t pairs,
                      DesignPairs& design);

// Spends what remains evenly over the directions, those that have fewer pairs first, in up to 4 rounds (an interrupted
// run then has whole rounds); the estimate. Errors: kFailedPrecondition TOO_FEW_GRADIENTS, kCancelled INTERRUPTED when
// a direction has no pair.
absl::StatusOr<HessianEstimate> CompleteDesign(EstimationRun& run, const NoiseChoice& noise, DesignPairs& design);

// The noise a design asks for: that of the rule, or the extra level given. tau^2 need not be known.
NoiseChoice DesignNoise(const EstimationRun& run);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ACTIVE_DESIGN_H_
