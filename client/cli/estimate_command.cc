#include "client/cli/estimate_command.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/estimate_report.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "client/estimation/hessian_estimator.h"
#include "client/estimation/recorded_gradients.h"
#include "core/errors.h"
#include "core/npy_file.h"
#include "core/status_macros.h"
#include "core/version.h"

namespace gradoracle {
namespace {

// The noise to ask for, and the total variance that the answer will have.
struct Noise {
  std::optional<double> requested;
  double total_variance = 0;
};

absl::StatusOr<Noise> ChooseNoise(const OracleInfo& info, const EstimateCommand& command);
absl::Status WriteSquare(NpyWriter& writer, const Eigen::MatrixXd& matrix);
// NpyWriter for a path; empty for no path.
absl::StatusOr<std::optional<NpyWriter>> OpenWriter(const std::string& path);

}  // namespace

std::string EstimateCommand::Description() const {
  return "Estimates the Hessian from minibatch gradients, with a limit on its own error.";
}

void EstimateCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  gradients.AddTo(flags, " (with --from: as recorded)", " (with --from: default all)");
  flags.Text("--out", out, "Where to write the Hessian (.npy, float64, dimension x dimension)", "FILE.npy");
  flags.Text("--gradients-out", gradients_out, "Also record the gradients", "FILE.npy");
  flags.Text("--from", from, "Take gradients recorded earlier instead of asking an oracle", "FILE.npy");
  flags.Text("--estimator", estimator, "covariance: batch_size * Cov(gradients) / total noise variance", "NAME");
  flags.Text("--level", typed_level_, "Confidence of the error limit, above 0.5 and below 1 (default 0.95)", "P");
  flags.Text("--total-noise-variance", typed_total_noise_variance_,
             "Variance of the target noise, the residual's included. The oracle tells it for its rules `calibrated`\n"
             "and `scaled`; needed for `fixed`, `none` and --from. One of the oracle's extra variances is asked for",
             "V");
  flags.Later("--target-error");
  flags.Later("--state");
  flags.Footer(
      "Ctrl-C writes the estimate from the gradients that have arrived.\n\nExamples:\n"
      "  gradoracle estimate --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 4096 --out hessian.npy\n"
      "  gradoracle estimate --from gradients.npy --batch-size 256 --total-noise-variance 256 --out hessian.npy");
}

absl::Status EstimateCommand::Check() {
  if (estimator != "covariance") {
    return InvalidField(
        "ESTIMATOR_UNKNOWN", "estimator",
        absl::StrCat("estimator is '", estimator, "', but this version (", VersionString(), ") has only 'covariance'"));
  }
  const bool recorded = !from.empty();
  GRADORACLE_RETURN_IF_ERROR(recorded ? connection.CheckIfGiven() : connection.Check());
  GRADORACLE_RETURN_IF_ERROR(gradients.Check({.weights = !recorded, .count = !recorded}));
  if (gradients.count() == 1) {
    return InvalidField("TOO_FEW_GRADIENTS", "count", "count is 1, but a covariance needs at least 2 gradients");
  }
  GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles({{"out", out}, {"gradients_out", gradients_out}, {"from", from}}));
  GRADORACLE_RETURN_IF_ERROR(ParseLevel(typed_level_, level));
  if (typed_total_noise_variance_.empty()) return absl::OkStatus();
  return ParsePositive(typed_total_noise_variance_, "total_noise_variance", total_noise_variance.emplace());
}

Outcome EstimateCommand::Run(Environment& environment) {
  const bool recorded = !from.empty();
  const ErrorOrigin origin = recorded ? ErrorOrigin::kUsage : ErrorOrigin::kOracle;

  // Who answers, and what about.
  std::unique_ptr<GradientSource> source;
  if (recorded) {
    absl::StatusOr<std::unique_ptr<RecordedGradients>> opened = RecordedGradients::Open(from);
    if (!opened.ok()) return UsageError(opened.status());
    source = *std::move(opened);
  } else {
    absl::StatusOr<std::unique_ptr<GradientSource>> opened =
        environment.connect(connection.oracle(), connection.deadline());
    if (!opened.ok()) return UsageError(opened.status());
    source = *std::move(opened);
  }
  const absl::StatusOr<OracleInfo> info = source->Info();
  if (!info.ok()) return {info.status(), origin, environment.interrupted.load()};
  const absl::StatusOr<Noise> noise = ChooseNoise(*info, *this);
  if (!noise.ok()) return UsageError(noise.status());

  GradientQuery query;
  query.batch_size = gradients.batch_size();
  query.count = gradients.count().value_or(info->limits.max_count);
  query.total_noise_variance = noise->requested;
  if (!recorded) {
    absl::StatusOr<Eigen::VectorXd> weights = ReadWeights(gradients.weights(), info->dimension);
    if (!weights.ok()) return UsageError(weights.status());
    query.weights = *std::move(weights);
  }

  // What the answers go into; opened before anything is asked, as gradients may cost a budget.
  std::optional<HessianEstimator> hessian_estimator;
  if (recorded || query.batch_size > 0) {  // otherwise the oracle will refuse, in its own words
    HessianEstimator::Options options;
    options.batch_size = query.batch_size;
    options.total_noise_variance = noise->total_variance;
    options.expected_count = std::max<int64_t>(query.count, 0);
    options.unit_diagonal_known = !recorded && info->scaling == "standardised";
    absl::StatusOr<HessianEstimator> created = HessianEstimator::Create(info->dimension, options);
    if (!created.ok()) {
      return {created.status(),
              created.status().code() == absl::StatusCode::kInvalidArgument ? ErrorOrigin::kUsage : ErrorOrigin::kRun};
    }
    hessian_estimator.emplace(*std::move(created));
  }
  absl::StatusOr<std::optional<NpyWriter>> hessian_writer = OpenWriter(out);
  if (!hessian_writer.ok()) return UsageError(hessian_writer.status());
  absl::StatusOr<std::optional<NpyWriter>> gradients_writer = OpenWriter(gradients_out);
  if (!gradients_writer.ok()) return UsageError(gradients_writer.status());

  Gathered gathered = Gather(
      *source, query,
      [&](const Eigen::Ref<const RowMajorMatrix>& block) -> absl::Status {
        if (!hessian_estimator.has_value())
          return absl::InternalError("the oracle answered a query it should have refused");
        if (absl::Status added = hessian_estimator->Add(block); !added.ok()) return added;
        if (!gradients_writer->has_value()) return absl::OkStatus();
        return (*gradients_writer)->Append({block.data(), static_cast<size_t>(block.size())});
      },
      origin, environment);
  std::string kept;
  if (gathered.count > 0 && gradients_writer->has_value()) {
    const absl::Status written =
        (*gradients_writer)->Finish(std::array<int64_t, 2>{gathered.count, gathered.dimension});
    if (!written.ok()) return RunError(written);
    kept = absl::StrCat(" and are kept in ", gradients_out);
  }
  if (!gathered.outcome.status.ok()) {
    gathered.outcome.status = WithSuffix(gathered.outcome.status, HowFar(gathered, query.count) + kept);
    return gathered.outcome;
  }

  absl::BitGen signs;
  const absl::StatusOr<HessianEstimate> estimate = hessian_estimator->Estimate(signs, level);
  if (!estimate.ok()) return {estimate.status(), ErrorOrigin::kRun, gathered.outcome.interrupted};
  if (hessian_writer->has_value()) {
    if (absl::Status written = WriteSquare(**hessian_writer, estimate->hessian); !written.ok())
      return RunError(written);
  }
  if (connection.json()) {
    environment.out << EstimateJson(*estimate, gathered.seconds).dump(2) << "\n";
  } else {
    environment.out << EstimateText(*estimate, gathered.seconds, environment.colour);
    if (!out.empty()) environment.out << "Hessian written to   " << out << "\n";
    if (!gradients_out.empty()) environment.out << "gradients written to " << gradients_out << "\n";
    if (gathered.outcome.interrupted) environment.out << "interrupted after " << gathered.count << " gradients\n";
  }
  return gathered.outcome;
}

namespace {

absl::StatusOr<Noise> ChooseNoise(const OracleInfo& info, const EstimateCommand& command) {
  const std::optional<double>& given = command.total_noise_variance;
  if (!command.from.empty()) {
    if (given.has_value()) return Noise{std::nullopt, *given};
    return InvalidField("MISSING", "total_noise_variance",
                        "total_noise_variance is missing: a recording does not tell it; give --total-noise-variance V "
                        "(the batch size, if it was made at the rule `calibrated`)");
  }
  const std::vector<double>& extra = info.noise.extra_variances;
  if (given.has_value() && std::find(extra.begin(), extra.end(), *given) != extra.end()) return Noise{given, *given};
  const std::optional<double> known = KnownTotalNoiseVariance(info.noise, command.gradients.batch_size());
  const std::string rule(NoiseRuleName(info.noise.rule));
  if (!known.has_value()) {
    if (given.has_value()) return Noise{std::nullopt, *given};
    return InvalidField("MISSING", "total_noise_variance",
                        absl::StrCat("total_noise_variance is missing: at its rule `", rule,
                                     "` the oracle does not tell the residual's share; give --total-noise-variance V"));
  }
  if (!given.has_value() || *given == *known) return Noise{std::nullopt, *known};
  return InvalidField(
      "TOTAL_NOISE_VARIANCE_CONTRADICTS", "total_noise_variance",
      absl::StrCat("total_noise_variance is ", *given, ", but the oracle's rule `", rule, "` makes it ", *known,
                   extra.empty() ? "" : absl::StrCat(", and on request ", absl::StrJoin(extra, ", "))));
}

absl::Status WriteSquare(NpyWriter& writer, const Eigen::MatrixXd& matrix) {
  // Symmetric: columns are rows.
  if (absl::Status status = writer.Append({matrix.data(), static_cast<size_t>(matrix.size())}); !status.ok())
    return status;
  return writer.Finish(std::array<int64_t, 2>{matrix.rows(), matrix.cols()});
}

absl::StatusOr<std::optional<NpyWriter>> OpenWriter(const std::string& path) {
  if (path.empty()) return std::optional<NpyWriter>();
  absl::StatusOr<NpyWriter> writer = NpyWriter::Create(path);
  if (!writer.ok()) return writer.status();
  return std::optional<NpyWriter>(*std::move(writer));
}

}  // namespace
}  // namespace gradoracle
