#include "client/cli/merge_command.h"

#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "client/cli/estimate_report.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "client/estimation/estimator_state.h"
#include "client/estimation/state_file.h"
#include "core/npy.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

absl::StatusOr<EstimatorState> LoadAndMerge(const std::vector<std::string>& paths) {
  GRADORACLE_ASSIGN_OR_RETURN(EstimatorState state, LoadState(paths.front()));
  for (size_t i = 1; i < paths.size(); ++i) {
    GRADORACLE_ASSIGN_OR_RETURN(EstimatorState other, LoadState(paths[i]));
    if (absl::Status merged = MergeStates(state, std::move(other)); !merged.ok()) {
      return WithSuffix(merged, absl::StrCat(" (", paths[i], ")"));
    }
  }
  return state;
}

nlohmann::ordered_json OraclesJson(const EstimatorState& state) {
  nlohmann::ordered_json oracles = nlohmann::ordered_json::array();
  for (const StatePart& part : state.parts) {
    oracles.push_back({{"dataset_version", part.oracle.dataset_version},
                       {"row_count", part.oracle.row_count},
                       {"gradients", part.estimator.count()},
                       {"runs", part.runs.size()}});
  }
  return oracles;
}

}  // namespace

std::string MergeCommand::Description() const {
  return "Makes one estimate of the states that several runs of `estimate --state` have written.";
}

void MergeCommand::AddFlags(FlagSet& flags) {
  flags.Positionals("STATE", states,
                    "State files: of one oracle (pooled), or of several in the same units\n"
                    "(weighted by their numbers of rows)");
  flags.Text("--out", out, "Where to write the Hessian (.npy, float64, dimension x dimension)", "FILE.npy");
  flags.Text("--state", merged, "Also write the merged state", "FILE");
  flags.Text("--level", typed_level_, "Confidence of the error limit, above 0.5 and below 1 (default 0.95)", "P");
  flags.Switch("--json", json, "Print one JSON object and nothing else");
  flags.Footer("Example:\n  gradoracle merge monday.state tuesday.state --out hessian.npy --state both.state");
}

absl::Status MergeCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(RequireValue(states.empty() ? "" : states.front(), "state", "one state file or more"));
  GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles({{"out", out}, {"state", merged}}));
  for (const std::string& state : states) {
    GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles({{"state", state}, {"out", out}}));
  }
  return ParseLevel(typed_level_, level);
}

Outcome MergeCommand::Run(Environment& environment) {
  const absl::StatusOr<EstimatorState> state = LoadAndMerge(states);
  if (!state.ok()) return UsageError(state.status());
  absl::BitGen generator;
  const absl::StatusOr<HessianEstimate> estimate = EstimateFromState(*state, generator, level);
  if (!estimate.ok()) return RunError(estimate.status());
  if (!merged.empty()) {
    if (absl::Status saved = SaveState(*state, merged); !saved.ok()) return UsageError(saved);
  }
  if (!out.empty()) {
    if (absl::Status written = WriteNpy(out, estimate->hessian); !written.ok())
      return UsageError(WithField(written, "out"));
  }
  if (json) {
    nlohmann::ordered_json result = EstimateJson(*estimate, 0);
    result.erase("seconds");
    result.erase("gradients_per_second");
    result["oracles"] = OraclesJson(*state);
    environment.out << result.dump(2) << "\n";
    return {};
  }
  environment.out << EstimateText(*estimate, 0, environment.colour);
  for (const StatePart& part : state->parts) {
    environment.out << absl::StrCat("data set             ", part.oracle.dataset_version, ": ", part.estimator.count(),
                                    " gradients of ", part.runs.size(), " runs, ", part.oracle.row_count, " rows\n");
  }
  if (!out.empty()) environment.out << "Hessian written to   " << out << "\n";
  if (!merged.empty()) environment.out << "state written to     " << merged << "\n";
  return {};
}

}  // namespace gradoracle
