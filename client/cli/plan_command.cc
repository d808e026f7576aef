#include "client/cli/plan_command.h"

#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "client/cli/watched_source.h"
#include "client/estimation/estimator.h"
#include "client/estimation/plan.h"
#include "core/errors.h"
#include "core/query_policy.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

std::string PlanCommand::Description() const {
  return "Says how many gradients a relative error needs, before any are spent.";
}

void PlanCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  flags.Text("--batch-size", typed_batch_size_, "Rows per gradient", "N");
  flags.Text("--target-error", typed_target_error_, "Relative error wanted, above 0 and at most 1", "E");
  flags.Text("--level", typed_level_, "Confidence, above 0.5 and below 1 (default 0.95)", "P");
  flags.Text("--pilot", typed_pilot_, "Spend M gradients on a pilot, which narrows the answer", "M");
  flags.Text("--weights,--at", weights, "Point of evaluation of the pilot", "FILE.npy|zeros");
  flags.Text("--total-noise-variance", typed_total_noise_variance_, "Of the pilot, as for `estimate`", "V");
  flags.Footer(
      "Examples:\n  gradoracle plan --oracle 127.0.0.1:50051 --batch-size 256 --target-error 0.1\n"
      "  gradoracle plan --oracle 127.0.0.1:50051 --batch-size 256 --target-error 0.1 --pilot 1024 --weights zeros");
}

absl::Status PlanCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(connection.Check());
  GRADORACLE_RETURN_IF_ERROR(RequireValue(typed_batch_size_, "batch_size", "--batch-size N"));
  GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed_batch_size_, "batch_size", batch_size));
  GRADORACLE_RETURN_IF_ERROR(RequireValue(typed_target_error_, "target_error", "--target-error E"));
  GRADORACLE_RETURN_IF_ERROR(ParseTargetError(typed_target_error_, target_error));
  GRADORACLE_RETURN_IF_ERROR(ParseLevel(typed_level_, level));
  if (typed_pilot_.empty()) return absl::OkStatus();
  GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed_pilot_, "pilot", pilot.emplace()));
  if (*pilot < 2) {
    return InvalidField("TOO_FEW_GRADIENTS", "pilot",
                        absl::StrFormat("pilot is %d, but a covariance needs at least 2 gradients", *pilot));
  }
  GRADORACLE_RETURN_IF_ERROR(RequireValue(weights, "weights", "--weights FILE.npy (or zeros) for the pilot"));
  if (typed_total_noise_variance_.empty()) return absl::OkStatus();
  return ParsePositive(typed_total_noise_variance_, "total_noise_variance", total_noise_variance.emplace());
}

Outcome PlanCommand::Run(Environment& environment) {
  absl::StatusOr<std::unique_ptr<GradientSource>> source =
      environment.connect(connection.oracle(), connection.settings());
  if (!source.ok()) return UsageError(source.status());
  const absl::StatusOr<OracleInfo> info = (*source)->Info();
  if (!info.ok()) return OracleError(info.status());
  // A plan for a batch size that the oracle refuses helps nobody.
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(info->dimension);
  query.batch_size = batch_size;
  query.count = pilot.value_or(1);
  if (pilot.has_value()) {
    absl::StatusOr<Eigen::VectorXd> read = ReadWeights(weights, info->dimension);
    if (!read.ok()) return UsageError(read.status());
    query.weights = *std::move(read);
  }
  if (absl::Status refused = ValidateQuery(query, *info); !refused.ok()) return OracleError(refused);

  NarrowedPlan plan;
  plan.effective_rank_upper = static_cast<double>(info->dimension);
  std::optional<HessianEstimate> estimate;
  if (pilot.has_value()) {
    EstimationOptions options;
    options.estimator = Estimator::kCovariance;
    options.weights = query.weights;
    options.batch_size = batch_size;
    options.count = *pilot;
    options.total_noise_variance = total_noise_variance;
    options.level = level;
    WatchedSource watched(**source, *pilot, nullptr, environment);
    options.progress = [&](int64_t) { return !environment.interrupted.load(); };
    absl::BitGen generator;
    absl::StatusOr<HessianEstimate> estimated = EstimateHessian(watched, options, generator);
    watched.EndProgress();
    if (!estimated.ok()) {
      const ErrorOrigin origin = watched.source_failed() ? ErrorOrigin::kOracle
                                 : watched.asked()       ? ErrorOrigin::kRun
                                                         : ErrorOrigin::kUsage;
      return {estimated.status(), origin, environment.interrupted.load()};
    }
    estimate = *std::move(estimated);
    const absl::StatusOr<NarrowedPlan> narrowed = NarrowPlan(*estimate, target_error);
    if (!narrowed.ok()) return UsageError(narrowed.status());
    plan = *narrowed;
  } else {
    const absl::StatusOr<Plan> wide = PlanGradients(info->dimension, batch_size, target_error, level);
    if (!wide.ok()) return UsageError(wide.status());
    plan.gradients = *wide;
  }

  Outcome outcome;
  outcome.interrupted = estimate.has_value() && estimate->gradients < *pilot && environment.interrupted.load();
  if (connection.json()) {
    nlohmann::ordered_json json = {
        {"dimension", info->dimension},
        {"batch_size", batch_size},
        {"target_error", target_error},
        {"level", level},
        {"gradients",
         {{"optimistic", plan.gradients.optimistic},
          {"worst", plan.gradients.worst},
          {"whitened", plan.gradients.whitened}}},
        {"effective_rank", {{"lower", plan.effective_rank_lower}, {"upper", plan.effective_rank_upper}}}};
    if (estimate.has_value()) {
      const std::optional<double>& upper = estimate->relative_error.upper;
      json["pilot"] = {{"gradients", estimate->gradients},
                       {"effective_rank", estimate->effective_rank},
                       {"relative_error_upper", upper.has_value() ? nlohmann::ordered_json(*upper) : nullptr}};
    }
    environment.out << json.dump(2) << "\n";
    return outcome;
  }
  environment.out << absl::StrFormat(
      "relative error %g with %g %% confidence, batches of %d, dimension %d:\n"
      "  %d to %d gradients, for an effective rank of %.3g to %.3g\n"
      "  %d for every direction by itself (to invert the Hessian)\n",
      target_error, 100 * level, batch_size, info->dimension, plan.gradients.optimistic, plan.gradients.worst,
      plan.effective_rank_lower, plan.effective_rank_upper, plan.gradients.whitened);
  if (estimate.has_value()) {
    environment.out << absl::StrFormat("%d gradients were spent on the pilot\n", estimate->gradients);
    if (!estimate->relative_error.upper.has_value()) {
      environment.out << "too few to narrow anything: their own error limit is unknown\n";
    }
  }
  return outcome;
}

}  // namespace gradoracle
