#ifndef GRADORACLE_CLIENT_ESTIMATION_CONTINUED_ESTIMATE_H_
#define GRADORACLE_CLIENT_ESTIMATION_CONTINUED_ESTIMATE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/estimation/estimator.h"
#include "core/gradient_source.h"

namespace gradoracle {

// A plain covariance that goes on with a saved one, until a count or a target is reached.
struct ContinuedOptions {
  // estimator: kCovariance. count: gradients that this call may add, at least 1. Progress counts those.
  EstimationOptions estimation;
  // Taken up if it exists (state_file.h) and written afterwards, also when the source failed after the first gradient:
  // they may have cost a budget. Empty: none.
  std::string state_path;
  bool recorded = false;               // the source is a recording: its oracle and its weights are not known
  std::string recording_digest;        // RecordedGradients::Digest(); names the run, so that it is never added twice
  std::optional<double> target_error;  // stop as sequential.h does; requests of at most limits.max_count each
};

struct ContinuedEstimate {
  HessianEstimate estimate;  // of all gradients, old and new
  int64_t added = 0;         // gradients of this call
  bool reached = false;      // the target, if there was one
  bool biased = false;       // bias_warning or not_converged: then a target is never reached
  absl::Status saved;        // how writing the state went: the estimate stands whatever it says
};

// Errors: those of EstimateHessian, LoadState, CheckStateWritable, CheckResumable (STATE_MISMATCH) and EstimateUntil;
// kFailedPrecondition STATE_OVERLAP (the state holds this recording, or one that it cannot tell from it); what can be
// known before the first gradient is checked before it.
absl::StatusOr<ContinuedEstimate> EstimateOnwards(GradientSource& source, const ContinuedOptions& options,
                                                  absl::BitGenRef generator);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_CONTINUED_ESTIMATE_H_
