#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/commands.h"
#include "client/cli/gather.h"
#include "core/npy_file.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

Outcome RunQuery(const Arguments& arguments, Environment& environment) {
  absl::StatusOr<std::unique_ptr<GradientSource>> source = environment.connect(arguments.oracle, arguments.deadline);
  if (!source.ok()) return UsageError(source.status());
  int64_t dimension = 0;
  if (arguments.weights == "zeros") {
    const absl::StatusOr<OracleInfo> info = (*source)->Info();
    if (!info.ok()) return OracleError(info.status());
    dimension = info->dimension;
  }
  absl::StatusOr<Eigen::VectorXd> weights = ReadWeights(arguments.weights, dimension);
  if (!weights.ok()) return UsageError(weights.status());
  // Opened before anything is asked: gradients may cost a budget, a folder that cannot be written should not.
  absl::StatusOr<NpyWriter> writer = NpyWriter::Create(arguments.out);
  if (!writer.ok()) return UsageError(writer.status());

  GradientQuery query;
  query.weights = *std::move(weights);
  query.batch_size = arguments.batch_size;
  query.count = *arguments.count;
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
    const std::string kept = gathered.count > 0 ? absl::StrCat(" and are kept in ", arguments.out) : "";
    gathered.outcome.status = WithSuffix(gathered.outcome.status, HowFar(gathered, query.count) + kept);
    return gathered.outcome;
  }
  if (arguments.json) {
    environment.out << nlohmann::ordered_json{{"dimension", gathered.dimension},
                                              {"batch_size", arguments.batch_size},
                                              {"count", gathered.count},
                                              {"seconds", gathered.seconds}}
                           .dump(2)
                    << "\n";
  } else {
    environment.out << absl::StrFormat("%d gradients of dimension %d, batch size %d, in %.3g s, written to %s%s\n",
                                       gathered.count, gathered.dimension, arguments.batch_size, gathered.seconds,
                                       arguments.out, gathered.outcome.interrupted ? " (interrupted)" : "");
  }
  return gathered.outcome;
}

}  // namespace gradoracle
