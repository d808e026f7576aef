#include "client/cli/estimate_command.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/estimate_report.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "client/cli/watched_source.h"
#include "client/estimation/continued_estimate.h"
#include "client/estimation/estimator.h"
#include "client/estimation/recorded_gradients.h"
#include "core/error_json.h"
#include "core/errors.h"
#include "core/npy_file.h"
#include "core/query_policy.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// covariance and corrected ask at one point, by one request; so does probe.
bool AsksOnce(Estimator estimator);
// Whose an error of EstimateHessian is.
ErrorOrigin OriginOf(const absl::Status& status, const WatchedSource& watched, ErrorOrigin source);
// The Hessian, or B of another form.
absl::Status WriteHessian(NpyWriter& writer, const HessianEstimate& estimate);
// NpyWriter for a path; empty for no path. Errors have the field.
absl::StatusOr<std::optional<NpyWriter>> OpenWriter(const std::string& path, const std::string& field);

}  // namespace

std::string EstimateCommand::Description() const {
  return "Estimates the Hessian from minibatch gradients, with a limit on its own error.";
}

void EstimateCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  gradients.AddTo(flags, " (not with --from)", " (with --from: default all)");
  flags.Text("--out", out, "Where to write the Hessian (.npy, float64, dimension x dimension; B of another --form)",
             "FILE.npy");
  flags.Text("--gradients-out", gradients_out, "Also record the gradients", "FILE.npy");
  flags.Text("--from", from, "Take gradients recorded earlier instead of asking an oracle", "FILE.npy");
  flags.Text(
      "--estimator", typed_estimator_,
      "auto (default): whichever of these suits what the oracle allows and a pilot of 128 gradients shows;\n"
      "covariance (default with --from or --gradients-out): batch_size * Cov(gradients) / total noise variance;\n"
      "corrected: the same with the residuals' part subtracted; two_level: difference of two noise levels;\n"
      "probe: targets switched off; active: designed weights; warm_up: covariance after steps to the optimum",
      "NAME");
  flags.Switch(
      "--no-unit-diagonal", no_unit_diagonal,
      "Do not scale the estimate to the unit diagonal that the Hessian of a standardised oracle is known to have");
  flags.Text("--form", typed_form_,
             "What the Hessian is held as. dense (default): (d, d). For d too large for that, --out holds B with\n"
             "Hessian = B'B: row_space, at most count rows, keeps all gradients; sketch, --sketch-rows rows, leaves\n"
             "out a known remainder, in memory that does not grow with the count",
             "NAME");
  flags.Text("--sketch-rows", typed_sketch_rows_, "Rows of the sketch (default 64); more than the effective rank", "L");
  flags.Text("--shrinkage", typed_shrinkage_,
             "Make the Hessian fit for inversion: ledoit_wolf, oas, nonlinear or spiked (default none); the relative\n"
             "error stays that of the Hessian before",
             "NAME");
  flags.Text("--trim", typed_trim_,
             "Leave out this share of the gradients, the farthest: against an oracle that sometimes sends nonsense.\n"
             "Above 0, at most 0.25, e.g. 0.05; batches of 32 rows and more",
             "P");
  flags.Text("--level", typed_level_, "Confidence of the error limit, above 0.5 and below 1 (default 0.95)", "P");
  flags.Text("--total-noise-variance", typed_total_noise_variance_,
             "Variance of the target noise, the residual's included. The oracle tells it for its rules `calibrated`\n"
             "and `scaled`; needed for `fixed`, `none` and --from. One of the oracle's extra variances is asked for",
             "V");
  flags.Text("--target-error", typed_target_error_,
             "Stop as soon as the error limit is at most E; --count is then the most that may be asked for. Says what\n"
             "was reached. Estimator: covariance",
             "E");
  flags.Text("--state", state,
             "Go on with the gradients of FILE, if it exists, and write it afterwards; --count more are added.\n"
             "Estimator: covariance. See also `gradoracle merge`",
             "FILE");
  flags.Footer(
      "Ctrl-C writes the estimate from the gradients that have arrived, and so does a connection that "
      "breaks.\n\nExamples:\n"
      "  gradoracle estimate --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 4096 --out hessian.npy\n"
      "  gradoracle estimate --from gradients.npy --batch-size 256 --total-noise-variance 256 --out hessian.npy");
}

absl::Status EstimateCommand::Check() {
  const bool recorded = !from.empty();
  GRADORACLE_RETURN_IF_ERROR(recorded ? connection.CheckIfGiven() : connection.Check());
  GRADORACLE_RETURN_IF_ERROR(gradients.Check({.weights = !recorded, .count = !recorded}));
  if (recorded) GRADORACLE_RETURN_IF_ERROR(CheckNothingBesideFrom());
  if (gradients.count() == 1 && state.empty()) {
    return InvalidField("TOO_FEW_GRADIENTS", "count", "count is 1, but a covariance needs at least 2 gradients");
  }
  GRADORACLE_RETURN_IF_ERROR(CheckForm());
  if (!typed_target_error_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseTargetError(typed_target_error_, target_error.emplace()));
  }
  GRADORACLE_RETURN_IF_ERROR(CheckEstimator());
  GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles({{"out", out},
                                                  {"gradients_out", gradients_out},
                                                  {"from", from},
                                                  {"state", state},
                                                  {"weights", gradients.WeightsFile()}}));
  GRADORACLE_RETURN_IF_ERROR(ParseLevel(typed_level_, level));
  if (typed_total_noise_variance_.empty()) return absl::OkStatus();
  return ParsePositive(typed_total_noise_variance_, "total_noise_variance", total_noise_variance.emplace());
}

absl::Status EstimateCommand::CheckNothingBesideFrom() {
  const auto conflict = [](absl::string_view field, absl::string_view why) {
    return InvalidField("SOURCE_CONFLICT", field, absl::StrCat(field, ": ", why, "; leave out --from, or --", field));
  };
  if (!gradients.weights().empty()) {
    return conflict("weights", "recorded gradients are of the weights that they were recorded at");
  }
  // An address from the environment is there for the other verbs.
  const char* environment = std::getenv("GRADORACLE_ORACLE");
  const std::string unasked = environment == nullptr ? "" : environment;
  if (!connection.oracles().empty() && connection.oracle() != unasked) {
    return conflict("oracle", "recorded gradients come from their file, and no oracle is asked");
  }
  return absl::OkStatus();
}

absl::Status EstimateCommand::CheckForm() {
  if (!typed_form_.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(form, ParseHessianForm(typed_form_));
  }
  if (!typed_shrinkage_.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(shrinkage, ParseShrinkageMethod(typed_shrinkage_));
  }
  if (!typed_sketch_rows_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed_sketch_rows_, "sketch_rows", sketch_rows));
    if (form != HessianForm::kSketch) {
      return InvalidField("FORM_CONFLICT", "sketch_rows", "sketch_rows: only --form sketch has them");
    }
  }
  if (typed_trim_.empty()) return absl::OkStatus();
  GRADORACLE_RETURN_IF_ERROR(ParseNumber(typed_trim_, "trim", trim));
  if (trim > 0) return absl::OkStatus();  // how large it may be is the library's to say
  return InvalidField("TRIM_OUT_OF_RANGE", "trim",
                      absl::StrCat("trim is ", typed_trim_, ", but must be above 0: leave it out to trim nothing"));
}

absl::Status EstimateCommand::CheckEstimator() {
  // All are about gradients of one point: the plain covariance, unless asked otherwise.
  const bool one_point = !from.empty() || !gradients_out.empty() || continued() || form != HessianForm::kDense ||
                         trim != 0 || shrinkage != ShrinkageMethod::kNone;
  if (continued() && (form != HessianForm::kDense || trim != 0 || shrinkage != ShrinkageMethod::kNone)) {
    const std::string field = state.empty() ? "target_error" : "state";
    return InvalidField("FORM_CONFLICT", field,
                        absl::StrCat(field,
                                     ": only a plain dense estimate can be gone on with; leave out --form, "
                                     "--trim and --shrinkage"));
  }
  if (!from.empty() && target_error.has_value()) {
    return InvalidField("ESTIMATOR_CONFLICT", "target_error",
                        "target_error: a recording cannot be asked for more; leave out --target-error or --from");
  }
  estimator = one_point ? Estimator::kCovariance : Estimator::kAuto;
  if (typed_estimator_.empty()) return absl::OkStatus();
  GRADORACLE_ASSIGN_OR_RETURN(estimator, ParseEstimator(typed_estimator_));
  if (continued() && estimator != Estimator::kCovariance) {
    const std::string field = state.empty() ? "target_error" : "state";
    return InvalidField("ESTIMATOR_CONFLICT", field,
                        absl::StrCat(field, ": only the estimator covariance can be gone on with, not ",
                                     typed_estimator_, "; leave out --estimator"));
  }
  if (!from.empty() && estimator != Estimator::kCovariance && estimator != Estimator::kCorrected) {
    return InvalidField("ESTIMATOR_CONFLICT", "from",
                        absl::StrCat("from: recorded gradients answer no questions, which ", typed_estimator_,
                                     " asks; use --estimator covariance or corrected"));
  }
  if (!gradients_out.empty() && !AsksOnce(estimator)) {
    return InvalidField("ESTIMATOR_CONFLICT", "gradients_out",
                        absl::StrCat("gradients_out: the gradients of ", typed_estimator_,
                                     " come from many points, and a recording keeps one; use --estimator covariance, "
                                     "corrected or probe"));
  }
  return absl::OkStatus();
}

Outcome EstimateCommand::Run(Environment& environment) {
  const bool recorded = !from.empty();
  const ErrorOrigin origin = recorded ? ErrorOrigin::kUsage : ErrorOrigin::kOracle;

  // Who answers, and what about.
  std::unique_ptr<GradientSource> source;
  std::string recording_digest;
  if (recorded) {
    absl::StatusOr<std::unique_ptr<RecordedGradients>> opened = RecordedGradients::Open(from);
    if (!opened.ok()) return UsageError(WithField(opened.status(), "from"));
    if ((*opened)->count() < 2 && state.empty()) {
      return UsageError(InvalidField("TOO_FEW_GRADIENTS", "from",
                                     absl::StrCat("from: ", from,
                                                  " holds 1 gradient, but a covariance needs at least "
                                                  "2; record more with `gradoracle query --count`")));
    }
    if (!state.empty()) {
      absl::StatusOr<std::string> digest = (*opened)->Digest();
      if (!digest.ok()) return UsageError(WithField(digest.status(), "from"));
      recording_digest = *std::move(digest);
    }
    source = *std::move(opened);
  } else {
    absl::StatusOr<std::unique_ptr<GradientSource>> opened =
        environment.connect(connection.oracle(), connection.settings());
    if (!opened.ok()) return UsageError(opened.status());
    source = *std::move(opened);
  }
  const absl::StatusOr<OracleInfo> info = source->Info();
  if (!info.ok()) return {info.status(), origin, environment.interrupted.load()};
  if (recorded && !total_noise_variance.has_value()) {
    return UsageError(
        InvalidField("MISSING", "total_noise_variance",
                     "total_noise_variance is missing: a recording does not tell it; give "
                     "--total-noise-variance V (the batch size, if it was made at the rule `calibrated`)"));
  }
  EstimationOptions options;
  options.estimator = estimator;
  options.batch_size = gradients.batch_size();
  options.count = gradients.count().value_or(info->limits.max_count);
  options.total_noise_variance = total_noise_variance;
  options.impose_unit_diagonal = !no_unit_diagonal;
  options.form = form;
  options.sketch_rows = sketch_rows;
  options.trim = trim;
  options.shrinkage = shrinkage;
  options.level = level;
  if (!recorded) {
    absl::StatusOr<Eigen::VectorXd> weights = ReadWeights(gradients.weights(), info->dimension);
    if (!weights.ok()) return UsageError(weights.status());
    options.weights = *std::move(weights);
    // Refused as the oracle would, before anything is drawn; several requests count together.
    GradientQuery together;
    together.weights = options.weights;
    together.batch_size = options.batch_size;
    // A target is reached by several requests, so that the limit of one does not bind.
    together.count = target_error.has_value() ? std::min(options.count, info->limits.max_count) : options.count;
    if (absl::Status status = ValidateQuery(together, *info); !status.ok()) return OracleError(status);
  }

  // What the answers go into; opened before anything is asked, as gradients may cost a budget.
  absl::StatusOr<std::optional<NpyWriter>> hessian_writer = OpenWriter(out, "out");
  if (!hessian_writer.ok()) return UsageError(hessian_writer.status());
  absl::StatusOr<std::optional<NpyWriter>> gradients_writer = OpenWriter(gradients_out, "gradients_out");
  if (!gradients_writer.ok()) return UsageError(gradients_writer.status());

  WatchedSource watched(*source, options.count, gradients_writer->has_value() ? &**gradients_writer : nullptr,
                        environment);
  bool interrupted = false;
  options.progress = [&](int64_t gathered) {
    if (environment.interrupted.load() && gathered < options.count) interrupted = true;
    return !interrupted;
  };
  // What came before a connection broke has been paid for.
  absl::Status failure;
  if (!recorded) options.source_failure = &failure;
  absl::BitGen generator;
  std::optional<ContinuedEstimate> continuation;
  absl::StatusOr<HessianEstimate> estimate = HessianEstimate();
  if (continued()) {
    absl::StatusOr<ContinuedEstimate> onwards =
        EstimateOnwards(watched, {options, state, recorded, recording_digest, target_error}, generator);
    if (onwards.ok()) continuation = *std::move(onwards);
    estimate = continuation.has_value() ? absl::StatusOr<HessianEstimate>(continuation->estimate) : onwards.status();
  } else {
    estimate = EstimateHessian(watched, options, generator);
  }
  watched.EndProgress();

  std::string kept;
  if (watched.count() > 0 && gradients_writer->has_value()) {
    const absl::Status written =
        (*gradients_writer)->Finish(std::array<int64_t, 2>{watched.count(), watched.dimension()});
    if (!written.ok()) return RunError(written);
    kept = absl::StrCat(" and are kept in ", gradients_out);
  }
  const std::string how_far =
      watched.count() > 0 ? absl::StrCat("; ", watched.count(), " of ", options.count, " gradients had arrived", kept)
                          : "";
  if (!estimate.ok()) {
    const std::string where =
        recorded ? absl::StrCat(" (in ", from, "; record it again, or use the part before with --count)") : how_far;
    return {WithSuffix(estimate.status(), where), OriginOf(estimate.status(), watched, origin), interrupted};
  }
  Outcome outcome{absl::OkStatus(), origin, interrupted};
  if (!failure.ok()) {
    outcome = OracleError(WithSuffix(failure, absl::StrCat(how_far, "; the estimate is of these")));
  } else if (continuation.has_value() && !continuation->saved.ok()) {
    outcome = RunError(WithSuffix(continuation->saved, "; the estimate stands, but cannot be gone on with"));
  }
  outcome.interrupted = interrupted;
  outcome.reported = !outcome.status.ok();
  if (hessian_writer->has_value()) {
    const absl::Status written = WriteHessian(**hessian_writer, *estimate);
    if (!written.ok()) return RunError(written);
  }
  if (connection.json()) {
    nlohmann::ordered_json json = EstimateJson(*estimate, watched.seconds());
    if (continuation.has_value()) AddContinuation(*continuation, state, target_error, watched.seconds(), json);
    if (interrupted) json["interrupted"] = true;
    if (outcome.reported) json["error"] = nlohmann::ordered_json::parse(ErrorJson(outcome.status, 2))["error"];
    environment.out << json.dump(2) << "\n";
  } else {
    environment.out << EstimateText(*estimate, watched.seconds(), environment.colour);
    if (continuation.has_value()) environment.out << ContinuationText(*continuation, state, target_error);
    if (!out.empty()) {
      environment.out << (form == HessianForm::kDense ? "Hessian written to   " : "B written to         ") << out
                      << "\n";
    }
    if (!gradients_out.empty()) environment.out << "gradients written to " << gradients_out << "\n";
    if (interrupted) environment.out << "interrupted after " << watched.count() << " gradients\n";
  }
  return outcome;
}

namespace {

bool AsksOnce(Estimator estimator) {
  return estimator == Estimator::kCovariance || estimator == Estimator::kCorrected || estimator == Estimator::kProbe;
}

ErrorOrigin OriginOf(const absl::Status& status, const WatchedSource& watched, ErrorOrigin source) {
  // A recording is a file that the user gave: what is wrong with it is.
  if (watched.source_failed() || source == ErrorOrigin::kUsage) return source;
  const std::string reason = ErrorReason(status).value_or("");
  if (absl::EndsWith(reason, "_NOT_OFFERED") || reason == "CORRECTION_REFUSED") return ErrorOrigin::kOracle;
  const bool usage =
      status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kFailedPrecondition;
  return usage && !watched.asked() ? ErrorOrigin::kUsage : ErrorOrigin::kRun;
}

absl::Status WriteHessian(NpyWriter& writer, const HessianEstimate& estimate) {
  if (estimate.form != HessianForm::kDense) {
    const RowMajorMatrix& factor = estimate.factor;
    GRADORACLE_RETURN_IF_ERROR(writer.Append({factor.data(), static_cast<size_t>(factor.size())}));
    return writer.Finish(std::array<int64_t, 2>{factor.rows(), factor.cols()});
  }
  // Symmetric: columns are rows.
  const Eigen::MatrixXd& matrix = estimate.hessian;
  GRADORACLE_RETURN_IF_ERROR(writer.Append({matrix.data(), static_cast<size_t>(matrix.size())}));
  return writer.Finish(std::array<int64_t, 2>{matrix.rows(), matrix.cols()});
}

absl::StatusOr<std::optional<NpyWriter>> OpenWriter(const std::string& path, const std::string& field) {
  if (path.empty()) return std::optional<NpyWriter>();
  absl::StatusOr<NpyWriter> writer = NpyWriter::Create(path);
  if (!writer.ok()) return WithField(writer.status(), field);
  return std::optional<NpyWriter>(*std::move(writer));
}

}  // namespace
}  // namespace gradoracle
