#include "client/cli/train_command.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "client/cli/traced_source.h"
#include "client/cli/training_report.h"
#include "core/errors.h"
#include "core/npy_file.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr const char* kEraseLine = "\r\x1b[K";

ErrorOrigin OriginOf(const absl::Status& status, const std::vector<std::unique_ptr<TracedSource>>& sources) {
  for (const std::unique_ptr<TracedSource>& source : sources) {
    if (source->failed()) return ErrorOrigin::kOracle;
  }
  return sources.front()->OriginOf(status);
}

absl::Status CheckDifferent(std::vector<std::string> addresses) {
  std::sort(addresses.begin(), addresses.end());
  const auto twice = std::adjacent_find(addresses.begin(), addresses.end());
  if (twice == addresses.end()) return absl::OkStatus();
  return InvalidField("ORACLE_REPEATED", "oracle",
                      absl::StrCat("oracle: ", *twice,
                                   " is given twice, and its rows would count twice; give each "
                                   "oracle once"));
}

absl::Status WriteResult(const TrainingResult& result, NpyWriter& weights_file,
                         std::optional<TrainingRecordWriter>& record_file) {
  GRADORACLE_RETURN_IF_ERROR(weights_file.Append({result.weights.data(), static_cast<size_t>(result.weights.size())}));
  GRADORACLE_RETURN_IF_ERROR(weights_file.Finish(std::vector<int64_t>{result.weights.size()}));
  return record_file.has_value() ? record_file->Finish(result) : absl::OkStatus();
}

}  // namespace

std::string TrainCommand::Description() const {
  return "Fits least squares from gradients alone, from one oracle or from several that hold their own rows.";
}

void TrainCommand::AddFlags(FlagSet& flags) {
  connection.AddSeveralTo(flags);
  gradients.AddTo(flags, " to start from (default zeros)",
                  ", at most, over all oracles (default: enough for the target)");
  flags.Text(
      "--method", typed_method_,
      "sgd: plain steps, averaged. preconditioned: steps by an inverse Hessian, all at the oracle's noise rule.\n"
      "newton: few steps with many gradients each. mixed: curvature at large noise, steps at the smallest\n"
      "allowed. auto (default): sgd or mixed, whichever is predicted to need fewer",
      "NAME");
  flags.Text("--target-excess-risk", typed_target_,
             "Stop when 1/2 (w-w*)'H(w-w*) is estimated at most this (default 0.001 without --count; in raw units\n"
             "then 100 gradients per dimension)",
             "E");
  flags.Text("--step-size", typed_step_size_, "In place of the method's own: for sgd absolute, else of a Newton step",
             "S");
  flags.Text("--level", typed_level_, "Confidence of excess_risk.upper, above 0.5 and below 1 (default 0.95)", "P");
  flags.Text("--total-noise-variance", typed_total_noise_variance_,
             "Variance of the target noise, where the oracle does not tell it (rules fixed, none)", "V");
  flags.Text("--out", out, "Where to write the weights (.npy, float64)", "FILE.npy");
  flags.Text("--record", record, "Also write how it converged", "FILE.csv|.json");
  flags.Footer(
      "Ctrl-C writes the weights reached.\n\nExamples:\n"
      "  gradoracle train --oracle 127.0.0.1:50051 --batch-size 512 --target-excess-risk 0.01 --out weights.npy\n"
      "  gradoracle train --oracle east:50051 --oracle west:50051 --method mixed --batch-size 512 --out weights.npy");
}

absl::Status TrainCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(connection.Check());
  GRADORACLE_RETURN_IF_ERROR(CheckDifferent(connection.oracles()));
  GRADORACLE_RETURN_IF_ERROR(gradients.Check({.weights = false, .count = false}));
  GRADORACLE_RETURN_IF_ERROR(RequireValue(out, "out", "--out FILE.npy"));
  GRADORACLE_RETURN_IF_ERROR(
      CheckDifferentFiles({{"out", out}, {"record", record}, {"weights", gradients.WeightsFile()}}));
  if (!record.empty()) GRADORACLE_RETURN_IF_ERROR(CheckRecordPath(record));
  GRADORACLE_ASSIGN_OR_RETURN(options.method, ParseTrainingMethod(typed_method_));
  GRADORACLE_RETURN_IF_ERROR(ParseLevel(typed_level_, options.level));
  options.batch_size = gradients.batch_size();
  options.count = gradients.count();
  const auto positive = [](const std::string& text, absl::string_view field, std::optional<double>& value) {
    return text.empty() ? absl::OkStatus() : ParsePositive(text, field, value.emplace());
  };
  GRADORACLE_RETURN_IF_ERROR(positive(typed_target_, "target_excess_risk", options.target_excess_risk));
  GRADORACLE_RETURN_IF_ERROR(positive(typed_step_size_, "step_size", options.step_size));
  return positive(typed_total_noise_variance_, "total_noise_variance", options.total_noise_variance);
}

Outcome TrainCommand::Run(Environment& environment) {
  std::vector<std::unique_ptr<TracedSource>> sources;
  std::vector<NamedOracle> oracles;
  for (const std::string& address : connection.oracles()) {
    absl::StatusOr<std::unique_ptr<GradientSource>> source = environment.connect(address, connection.settings());
    if (!source.ok()) return UsageError(source.status());
    sources.push_back(std::make_unique<TracedSource>(*std::move(source)));
    oracles.push_back({address, sources.back().get()});
  }
  if (!gradients.weights().empty() && gradients.weights() != "zeros") {
    absl::StatusOr<Eigen::VectorXd> start = ReadWeights(gradients.weights(), 0);
    if (!start.ok()) return UsageError(start.status());
    options.start = *std::move(start);
  }
  bool shown = false;
  absl::Time next_shown = absl::Now() + absl::Seconds(1);
  options.watch = [&](const TrainingPoint& point, const Eigen::VectorXd&) {
    const absl::Time now = absl::Now();
    if (environment.progress && now >= next_shown) {
      environment.err << absl::StrCat(kEraseLine, TrainingProgress(point)) << std::flush;
      shown = true;
      next_shown = now + absl::Milliseconds(100);
    }
    return !environment.interrupted.load();
  };
  absl::StatusOr<Trainer> trainer = Trainer::Create(oracles, options);
  if (!trainer.ok()) return {trainer.status(), OriginOf(trainer.status(), sources)};
  // Opened before anything is asked: gradients may cost a budget, a folder that cannot be written should not.
  absl::StatusOr<NpyWriter> weights_file = NpyWriter::Create(out);
  if (!weights_file.ok()) return UsageError(WithField(weights_file.status(), "out"));
  std::optional<TrainingRecordWriter> record_file;
  if (!record.empty()) {
    absl::StatusOr<TrainingRecordWriter> opened = TrainingRecordWriter::Create(record);
    if (!opened.ok()) return UsageError(opened.status());
    record_file.emplace(*std::move(opened));
  }

  const absl::Time start = absl::Now();
  const absl::Status trained = trainer->Run();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  if (shown) environment.err << kEraseLine << std::flush;
  const TrainingResult& result = trainer->result();
  if (!trained.ok()) {
    Outcome outcome{trained, OriginOf(trained, sources), environment.interrupted.load()};
    if (result.steps == 0) return outcome;
    if (absl::Status written = WriteResult(result, *weights_file, record_file); !written.ok()) return RunError(written);
    outcome.status =
        WithSuffix(trained, absl::StrCat("; the weights after ", result.gradients, " gradients are in ", out));
    return outcome;
  }
  if (result.stop == TrainingStop::kDiverged) {
    return RunError(MakeError(absl::StatusCode::kAborted, "TRAINING_DIVERGED", "",
                              "the gradients grew at every step size tried; nothing was learned. Check with `info` "
                              "that the units are sane, or give a smaller --step-size"));
  }
  if (absl::Status written = WriteResult(result, *weights_file, record_file); !written.ok()) return RunError(written);
  if (!result.reason.empty()) environment.err << "gradoracle: " << result.reason << "\n";
  if (!result.warning.empty()) environment.err << "gradoracle: warning: " << result.warning << "\n";
  if (connection.json()) {
    environment.out << TrainingJson(result, seconds).dump(2) << "\n";
  } else {
    environment.out << TrainingText(result, seconds) << "weights written to " << out << "\n";
  }
  Outcome outcome;
  outcome.interrupted = result.stop == TrainingStop::kInterrupted;
  return outcome;
}

}  // namespace gradoracle
