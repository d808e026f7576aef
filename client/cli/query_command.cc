#include "client/cli/query_command.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "core/npy_file.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

std::string QueryCommand::Description() const {
  return "Fetches minibatch gradients into a .npy of shape (count, dimension).";
}

void QueryCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  gradients.AddTo(flags);
  flags.Text("--out", out, "Where to write the gradients (.npy, float64)", "FILE.npy");
  flags.Footer(
      "Ctrl-C keeps the gradients that have arrived.\n\nExample:\n"
      "  gradoracle query --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 1000 --out gradients.npy");
}

absl::Status QueryCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(connection.Check());
  GRADORACLE_RETURN_IF_ERROR(gradients.Check());
  GRADORACLE_RETURN_IF_ERROR(RequireValue(out, "out", "--out FILE.npy"));
  return CheckDifferentFiles({{"out", out}, {"weights", gradients.WeightsFile()}});
}

Outcome QueryCommand::Run(Environment& environment) {
  absl::StatusOr<std::unique_ptr<GradientSource>> source =
      environment.connect(connection.oracle(), connection.settings());
  if (!source.ok()) return UsageError(source.status());
  int64_t dimension = 0;
  if (gradients.weights() == "zeros") {
    const absl::StatusOr<OracleInfo> info = (*source)->Info();
    if (!info.ok()) return OracleError(info.status());
    dimension = info->dimension;
  }
  absl::StatusOr<Eigen::VectorXd> weights = ReadWeights(gradients.weights(), dimension);
  if (!weights.ok()) return UsageError(weights.status());
  // Opened before anything is asked: gradients may cost a budget, a folder that cannot be written should not.
  absl::StatusOr<NpyWriter> writer = NpyWriter::Create(out);
  if (!writer.ok()) return UsageError(WithField(writer.status(), "out"));

  GradientQuery query;
  query.weights = *std::move(weights);
  query.batch_size = gradients.batch_size();
  query.count = *gradients.count();
  Gathered gathered = Gather(
      **source, query,
      [&](const Eigen::Ref<const RowMajorMatrix>& block) {
        return writer->Append({block.data(), static_cast<size_t>(block.size())});
      },
      ErrorOrigin::kOracle, environment);
  if (gathered.count > 0) {
    const absl::Status written = writer->Finish(std::array<int64_t, 2>{gathered.count, gathered.dimension});
    if (!written.ok()) return RunError(written);
  }
  if (!gathered.outcome.status.ok()) {
    const std::string kept = gathered.count > 0 ? absl::StrCat(" and are kept in ", out) : "";
    gathered.outcome.status = WithSuffix(gathered.outcome.status, HowFar(gathered, query.count) + kept);
    return gathered.outcome;
  }
  if (connection.json()) {
    environment.out << nlohmann::ordered_json{{"dimension", gathered.dimension},
                                              {"batch_size", gradients.batch_size()},
                                              {"count", gathered.count},
                                              {"seconds", gathered.seconds}}
                           .dump(2)
                    << "\n";
  } else {
    environment.out << absl::StrFormat("%d gradients of dimension %d, batch size %d, in %.3g s, written to %s%s\n",
                                       gathered.count, gathered.dimension, gradients.batch_size(), gathered.seconds,
                                       out, gathered.outcome.interrupted ? " (interrupted)" : "");
  }
  return gathered.outcome;
}

}  // namespace gradoracle
