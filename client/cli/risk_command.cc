#include "client/cli/risk_command.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/cli/flag_values.h"
#include "client/cli/gather.h"
#include "client/cli/progress.h"
#include "client/cli/traced_source.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

nlohmann::ordered_json RiskJson(const RiskEstimate& estimate, double seconds) {
  nlohmann::ordered_json json;
  const auto add = [&](const std::string& name, const Interval& interval) {
    json[name] = interval.value;
    json[name + "_interval"] = {interval.lower, interval.upper};
  };
  add("adversarial_risk", estimate.adversarial_risk);
  add("standard_risk", estimate.standard_risk);
  add("excess_risk", estimate.excess_risk);
  add("residual_variance", estimate.residual_variance);
  json["level"] = estimate.level;
  json["dual_norm"] = estimate.dual_norm;
  json["gradients"] = estimate.gradients;
  json["seconds"] = seconds;
  return json;
}

std::string RiskText(const RiskEstimate& estimate, const RiskOptions& options, double seconds) {
  std::string text =
      absl::StrFormat("%d gradients in %.3g s; intervals at %.3g\n", estimate.gradients, seconds, estimate.level);
  const auto add = [&](const std::string& name, const Interval& interval) {
    absl::StrAppendFormat(&text, "%-18s %-10.4g %.4g to %.4g\n", name, interval.value, interval.lower, interval.upper);
  };
  add("standard risk", estimate.standard_risk);
  add("adversarial risk", estimate.adversarial_risk);
  add("excess risk", estimate.excess_risk);
  add("residual variance", estimate.residual_variance);
  absl::StrAppendFormat(&text, "attack             %s ball of radius %.4g, dual norm of the weights %.4g\n",
                        std::string(AttackNormName(options.norm)), options.radius, estimate.dual_norm);
  return text;
}

}  // namespace

std::string RiskCommand::Description() const {
  return "Standard, excess and adversarial risk of a model, from gradients alone, with intervals.";
}

void RiskCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  gradients.AddTo(flags, " of the model to judge", ", at least 4 (dimension + 12)");
  flags.Text("--radius", typed_radius_, "How far the attack may move a row's features, in served units", "E");
  flags.Text("--norm", typed_norm_, "l2 (default) or linf: the norm that bounds the attack", "NORM");
  flags.Text("--level", typed_level_, "Confidence of the intervals, above 0.5 and below 1 (default 0.95)", "P");
  flags.Text("--largest-kurtosis", typed_largest_kurtosis_,
             "Bound on the residuals' kurtosis, which gradients do not show: widens adversarial_risk_interval\n"
             "downwards (default 50; 3 for Gaussian residuals)",
             "K");
  flags.Text("--target-second-moment", typed_target_second_moment_,
             "Mean square of the target in served units: 1, and needless, where the oracle standardised its data", "V");
  flags.Text("--total-noise-variance", typed_total_noise_variance_,
             "Variance of the target noise, where the oracle does not tell it (rules fixed, none)", "V");
  flags.Footer(
      "Risks are mean squares, without 1/2, but for the excess risk 1/2 (w-w*)'H(w-w*).\n\nExample:\n"
      "  gradoracle risk --oracle 127.0.0.1:50051 --weights weights.npy --radius 0.1 --norm linf --batch-size 256 "
      "--count 8192");
}

absl::Status RiskCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(connection.Check());
  GRADORACLE_RETURN_IF_ERROR(gradients.Check());
  options.batch_size = gradients.batch_size();
  options.count = *gradients.count();
  GRADORACLE_RETURN_IF_ERROR(RequireValue(typed_radius_, "radius", "--radius E (0 for no attack)"));
  GRADORACLE_RETURN_IF_ERROR(ParseNumber(typed_radius_, "radius", options.radius));
  GRADORACLE_ASSIGN_OR_RETURN(options.norm, ParseAttackNorm(typed_norm_));
  GRADORACLE_RETURN_IF_ERROR(ParseLevel(typed_level_, options.level));
  if (!typed_largest_kurtosis_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseNumber(typed_largest_kurtosis_, "largest_kurtosis", options.largest_kurtosis));
  }
  const auto positive = [](const std::string& text, absl::string_view field, std::optional<double>& value) {
    return text.empty() ? absl::OkStatus() : ParsePositive(text, field, value.emplace());
  };
  GRADORACLE_RETURN_IF_ERROR(
      positive(typed_target_second_moment_, "target_second_moment", options.target_second_moment));
  return positive(typed_total_noise_variance_, "total_noise_variance", options.total_noise_variance);
}

Outcome RiskCommand::Run(Environment& environment) {
  absl::StatusOr<std::unique_ptr<GradientSource>> connected =
      environment.connect(connection.oracle(), connection.settings());
  if (!connected.ok()) return UsageError(connected.status());
  TracedSource source(*std::move(connected));
  int64_t dimension = 0;
  if (gradients.weights() == "zeros") {
    const absl::StatusOr<OracleInfo> info = source.Info();
    if (!info.ok()) return OracleError(info.status());
    dimension = info->dimension;
  }
  const absl::StatusOr<Eigen::VectorXd> weights = ReadWeights(gradients.weights(), dimension);
  if (!weights.ok()) return UsageError(weights.status());

  const absl::Time start = absl::Now();
  absl::StatusOr<RiskEstimate> estimate = absl::UnknownError("");
  {
    Progress progress(environment.progress ? &environment.err : nullptr, options.count, start);
    options.watch = [&](int64_t done) {
      progress.Update(done, absl::Now());
      return !environment.interrupted.load();
    };
    estimate = EstimateRisk(source, *weights, options);
  }
  if (!estimate.ok()) return {estimate.status(), source.OriginOf(estimate.status()), environment.interrupted.load()};
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  if (connection.json()) {
    environment.out << RiskJson(*estimate, seconds).dump(2) << "\n";
  } else {
    environment.out << RiskText(*estimate, options, seconds);
  }
  return {};
}

}  // namespace gradoracle
