#include "client/estimation/continued_estimate.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/estimator_state.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/sequential.h"
#include "client/estimation/state_file.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr absl::string_view kRecordingRun = "recording ";

// Whether the recording `run` may be added to `state`: one of another kind is for CheckResumable to refuse.
absl::Status CheckNotHeld(const EstimatorState& state, const std::string& run, const std::string& path) {
  for (const StatePart& part : state.parts) {
    if (part.oracle != RecordingIdentity()) continue;
    for (const std::string& held : part.runs) {
      if (held != run && absl::StartsWith(held, kRecordingRun)) continue;
      return MakeError(
          absl::StatusCode::kFailedPrecondition, "STATE_OVERLAP", "state",
          absl::StrCat("state: ", path, held == run ? " holds this recording already" : " may hold this recording",
                       ", and its gradients would be counted twice; add another recording, or "
                       "write a new state"));
    }
  }
  return absl::OkStatus();
}

// The state to go on with: the file's, or a new one.
absl::StatusOr<EstimatorState> Begin(const ContinuedOptions& options, const EstimationRun& run,
                                     double total_noise_variance, const std::string& run_name) {
  const EstimationOptions& estimation = options.estimation;
  int64_t expected = estimation.count;
  if (options.target_error.has_value()) {
    GRADORACLE_ASSIGN_OR_RETURN(const int64_t first,
                                FirstLookCount(estimation.batch_size, *options.target_error, estimation.level));
    expected = std::min(expected, first);
  }
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator fresh, MakeEstimator(run, total_noise_variance, expected));
  const QueryIdentity query{std::string(EstimatorName(Estimator::kCovariance)),
                            options.recorded ? "" : WeightsDigest(estimation.weights)};
  const OracleIdentity oracle = options.recorded ? RecordingIdentity() : IdentityOf(run.info);
  EstimatorState state;
  state.query = query;
  if (!options.state_path.empty()) {
    GRADORACLE_RETURN_IF_ERROR(CheckStateWritable(options.state_path));
    absl::StatusOr<EstimatorState> loaded = LoadState(options.state_path);
    if (loaded.ok()) {
      if (options.recorded) GRADORACLE_RETURN_IF_ERROR(CheckNotHeld(*loaded, run_name, options.state_path));
      GRADORACLE_RETURN_IF_ERROR(CheckResumable(*loaded, query, oracle, fresh));
      return loaded;
    }
    if (ErrorReason(loaded.status()) != "STATE_NOT_FOUND") return loaded.status();
  }
  state.parts.push_back({oracle, {}, std::move(fresh)});
  return state;
}

}  // namespace

absl::StatusOr<ContinuedEstimate> EstimateOnwards(GradientSource& source, const ContinuedOptions& options,
                                                  absl::BitGenRef generator) {
  const EstimationOptions& estimation = options.estimation;
  if (!(estimation.level > 0.5 && estimation.level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", estimation.level, ", but must be above 0.5 and below 1"));
  }
  if (options.recorded && options.target_error.has_value()) {
    return InvalidField("ESTIMATOR_CONFLICT", "target_error", "target_error: a recording cannot be asked for more");
  }
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GRADORACLE_ASSIGN_OR_RETURN(
      const NoiseChoice noise,
      options.recorded&& estimation.total_noise_variance.has_value()
          ? absl::StatusOr<NoiseChoice>(NoiseChoice{std::nullopt, *estimation.total_noise_variance})
          : ChooseNoise(info.noise, estimation.batch_size, estimation.total_noise_variance));
  Requests requests(source, estimation.count, estimation.progress, estimation.source_failure);
  EstimationRun run{estimation, info, requests, generator};
  std::string run_name = absl::StrCat(kRecordingRun, options.recording_digest);
  if (!options.recorded) {
    GRADORACLE_ASSIGN_OR_RETURN(run_name, RandomIdentifier());
  }
  GRADORACLE_ASSIGN_OR_RETURN(EstimatorState state, Begin(options, run, noise.total_noise_variance, run_name));
  StatePart& part = state.parts.front();
  part.runs.push_back(std::move(run_name));

  const auto gather = [&](int64_t count) -> absl::Status {
    while (count > 0 && !requests.stopped()) {
      // One request unless a target is set: then the oracle's limit of one request does not limit the whole.
      const int64_t asked = options.target_error.has_value() ? std::min(count, info.limits.max_count) : count;
      GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, estimation.weights, asked, noise), part.estimator));
      count -= asked;
    }
    return absl::OkStatus();
  };
  ContinuedEstimate result;
  absl::StatusOr<SequentialEstimate> sequential;
  absl::Status gathered;
  if (options.target_error.has_value()) {
    SequentialOptions looks;
    looks.target_error = *options.target_error;
    looks.level = estimation.level;
    looks.largest_count = estimation.count > std::numeric_limits<int64_t>::max() - part.estimator.count()
                              ? std::numeric_limits<int64_t>::max()
                              : part.estimator.count() + estimation.count;
    GRADORACLE_ASSIGN_OR_RETURN(looks.first_count,
                                FirstLookCount(estimation.batch_size, *options.target_error, estimation.level));
    sequential = EstimateUntil(looks, part.estimator, gather, generator);
    gathered = sequential.status();
  } else {
    gathered = gather(estimation.count);
  }
  result.added = requests.gathered();
  if (!options.state_path.empty() && result.added > 0) {
    result.saved = SaveState(state, options.state_path);
  }
  if (requests.stopped() && part.estimator.count() < 2) {
    if (!result.saved.ok()) return result.saved;
    return requests.failed() ? *estimation.source_failure : Interrupted(Estimator::kCovariance);
  }
  GRADORACLE_RETURN_IF_ERROR(gathered);
  if (options.target_error.has_value()) {
    result.reached = sequential->reached;
    result.estimate = std::move(sequential->estimate);
  } else {
    GRADORACLE_ASSIGN_OR_RETURN(result.estimate, part.estimator.Estimate(generator, estimation.level));
  }
  if (run.unit_diagonal_known()) FindExcessDiagonal(info.feature_names, part.estimator.count(), result.estimate);
  // The limit covers sampling only: an estimate known to be biased has reached nothing.
  result.biased = result.estimate.bias_warning.has_value() || !result.estimate.not_converged.empty();
  result.reached = result.reached && !result.biased;
  result.estimate.estimator = Estimator::kCovariance;
  result.estimate.weights = estimation.weights;
  return result;
}

}  // namespace gradoracle
