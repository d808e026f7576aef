#include "client/cli/estimate_report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace gradoracle {
namespace {

constexpr int64_t kShownEigenvalues = 10;
constexpr int64_t kBarWidth = 40;
constexpr size_t kShownFeatures = 10;

nlohmann::ordered_json OrNull(const std::optional<double>& value) {
  return value.has_value() ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

// tau^2 of the gradients; null where the estimate needed none and nobody told.
nlohmann::ordered_json NoiseJson(const HessianEstimate& estimate) {
  return OrNull(estimate.total_noise_variance > 0 ? std::optional<double>(estimate.total_noise_variance)
                                                  : std::nullopt);
}

nlohmann::ordered_json NotConvergedJson(const HessianEstimate& estimate) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const DiagonalExcess& excess : estimate.not_converged) {
    nlohmann::ordered_json entry = {{"feature", excess.feature}};
    if (!excess.name.empty()) entry["name"] = excess.name;
    entry["excess"] = excess.excess;
    list.push_back(std::move(entry));
  }
  return list;
}

// "not converged: the diagonal of ... "
std::string NotConvergedText(const HessianEstimate& estimate) {
  std::vector<std::string> features;
  for (const DiagonalExcess& excess : estimate.not_converged) {
    const std::string name = excess.name.empty() ? absl::StrCat("feature ", excess.feature) : excess.name;
    features.push_back(absl::StrFormat("%s (by %.2g)", name, excess.excess));
    if (features.size() == kShownFeatures) break;
  }
  const size_t more = estimate.not_converged.size() - features.size();
  return absl::StrCat("not converged: the residuals still add to the diagonal of ", absl::StrJoin(features, ", "),
                      more > 0 ? absl::StrCat(" and ", more, " more") : "",
                      "; do not trust their rows. A curvature probe (the owner's --curvature-probe) would be exact\n");
}

double PerSecond(const HessianEstimate& estimate, double seconds) {
  return static_cast<double>(estimate.gradients) / std::max(seconds, 1e-9);
}

std::string ErrorInWords(const HessianEstimate& estimate) {
  const HessianEstimate::RelativeErrorLimit& error = estimate.relative_error;
  if (!error.estimate.has_value()) return "unknown: too few gradients to tell";
  std::string words = absl::StrFormat("about %.2g", *error.estimate);
  if (error.upper.has_value()) {
    absl::StrAppendFormat(&words, ", below %.2g with %g %% confidence", *error.upper, 100 * error.level);
  } else {
    absl::StrAppendFormat(&words, "; no upper limit at %g %% confidence: %s", 100 * error.level,
                          estimate.unseen_features.empty()
                              ? std::string("too few gradients")
                              : absl::StrFormat("%d features (the first is number %d) have hardly been drawn; ask for "
                                                "more gradients or larger batches",
                                                estimate.unseen_features.size(), estimate.unseen_features.front()));
  }
  if (estimate.form == HessianForm::kSketch) return words + " (sampling error and what the sketch leaves out)";
  if (estimate.shrinkage.has_value()) return words + " (sampling error only, before shrinkage)";
  return words + " (sampling error only)";
}

// Lines about what else was done to the estimate; empty for most.
std::string FormText(const HessianEstimate& estimate) {
  std::string text;
  if (estimate.trimmed > 0) {
    absl::StrAppendFormat(&text, "trimmed              %d gradients, the farthest from the centre\n", estimate.trimmed);
  }
  if (estimate.form != HessianForm::kDense) {
    absl::StrAppendFormat(&text, "form                 %s: B of %d rows, B'B is below the Hessian by at most %.3g\n",
                          HessianFormName(estimate.form), estimate.factor.rows(), estimate.left_out);
  }
  if (estimate.shrinkage.has_value()) {
    absl::StrAppendFormat(&text, "shrinkage            %s", ShrinkageMethodName(estimate.shrinkage->method));
    if (estimate.shrinkage->intensity.has_value()) {
      absl::StrAppendFormat(&text, ", intensity %.4g", *estimate.shrinkage->intensity);
    }
    if (estimate.shrinkage->spikes.has_value())
      absl::StrAppendFormat(&text, ", %d spikes", *estimate.shrinkage->spikes);
    text += "; what follows is of the shrunk Hessian\n";
  }
  return text;
}

}  // namespace

nlohmann::ordered_json EstimateJson(const HessianEstimate& estimate, double seconds) {
  const auto& eigenvalues = estimate.eigenvalues;
  nlohmann::ordered_json json = {
      {"dimension", estimate.dimension},
      {"batch_size", estimate.batch_size},
      {"gradients", estimate.gradients},
      {"estimator", std::string(EstimatorName(estimate.estimator))},
      {"reason", estimate.reason.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(estimate.reason)},
      {"form", std::string(HessianFormName(estimate.form))},
      {"unit_diagonal", estimate.unit_diagonal},
      {"not_converged", NotConvergedJson(estimate)},
      {"unseen_features", estimate.unseen_features},
      {"total_noise_variance", NoiseJson(estimate)},
      {"mean_gradient_norm", estimate.mean_gradient.norm()},
      {"trace", estimate.trace},
      {"effective_rank", estimate.effective_rank},
      {"eigenvalues", std::vector<double>(eigenvalues.data(), eigenvalues.data() + eigenvalues.size())},
      {"relative_error",
       {{"estimate", OrNull(estimate.relative_error.estimate)},
        {"upper", OrNull(estimate.relative_error.upper)},
        {"level", estimate.relative_error.level}}}};
  if (estimate.form != HessianForm::kDense) {
    json["factor_rows"] = estimate.factor.rows();
    json["left_out"] = estimate.left_out;
  }
  if (estimate.trimmed > 0) json["trimmed"] = estimate.trimmed;
  if (estimate.shrinkage.has_value()) {
    json["shrinkage"] = {{"method", std::string(ShrinkageMethodName(estimate.shrinkage->method))}};
    if (estimate.shrinkage->intensity.has_value()) json["shrinkage"]["intensity"] = *estimate.shrinkage->intensity;
    if (estimate.shrinkage->spikes.has_value()) json["shrinkage"]["spikes"] = *estimate.shrinkage->spikes;
  }
  if (estimate.bias_warning.has_value()) json["bias_warning"] = *estimate.bias_warning;
  json["seconds"] = seconds;
  json["gradients_per_second"] = PerSecond(estimate, seconds);
  return json;
}

std::string EstimateText(const HessianEstimate& estimate, double seconds, bool colour) {
  const char* strong = colour ? "\x1b[1m" : "";
  const char* plain = colour ? "\x1b[0m" : "";
  std::string text;
  absl::StrAppendFormat(&text, "gradients            %d of batch size %d, dimension %d", estimate.gradients,
                        estimate.batch_size, estimate.dimension);
  if (seconds > 0) absl::StrAppendFormat(&text, ", in %.3g s (%.0f per second)", seconds, PerSecond(estimate, seconds));
  text += "\n";
  absl::StrAppendFormat(&text, "estimator            %s%s%s\n", EstimatorName(estimate.estimator),
                        estimate.reason.empty() ? "" : ": ", estimate.reason);
  if (estimate.unit_diagonal) text += "diagonal             known to be 1, imposed\n";
  if (estimate.total_noise_variance > 0) {
    absl::StrAppendFormat(&text, "total noise variance %g\n", estimate.total_noise_variance);
  }
  absl::StrAppendFormat(&text, "mean gradient        norm %.4g\n", estimate.mean_gradient.norm());
  absl::StrAppendFormat(&text, "relative error       %s%s%s\n", strong, ErrorInWords(estimate), plain);
  text += FormText(estimate);
  absl::StrAppendFormat(&text, "trace                %.4g\n", estimate.trace);
  absl::StrAppendFormat(&text, "effective rank       %.4g (trace / largest eigenvalue)\n", estimate.effective_rank);
  text += "eigenvalues\n";
  const int64_t shown = std::min<int64_t>(kShownEigenvalues, estimate.eigenvalues.size());
  const double largest = shown > 0 ? estimate.eigenvalues(0) : 0;
  for (int64_t j = 0; j < shown; ++j) {
    const double value = estimate.eigenvalues(j);
    const double share = largest > 0 ? std::clamp(value / largest, 0.0, 1.0) : 0;
    absl::StrAppendFormat(&text, "  %4d %12.5g  %s\n", j + 1, value,
                          std::string(static_cast<size_t>(std::lround(share * kBarWidth)), '#'));
  }
  if (shown < estimate.eigenvalues.size()) {
    absl::StrAppendFormat(&text, "   ... %12.5g  the smallest of %d\n", estimate.eigenvalues.tail(1)(0),
                          estimate.eigenvalues.size());
  }
  if (!estimate.not_converged.empty()) text += NotConvergedText(estimate);
  if (estimate.bias_warning.has_value()) absl::StrAppend(&text, "warning: ", *estimate.bias_warning, "\n");
  return text;
}

void AddContinuation(const ContinuedEstimate& continuation, const std::string& state,
                     std::optional<double> target_error, double seconds, nlohmann::ordered_json& json) {
  if (target_error.has_value()) json["target_error"] = {{"asked", *target_error}, {"reached", continuation.reached}};
  if (!state.empty()) json["state"] = {{"file", state}, {"gradients_added", continuation.added}};
  json["gradients_per_second"] = static_cast<double>(continuation.added) / std::max(seconds, 1e-9);
}

std::string ContinuationText(const ContinuedEstimate& continuation, const std::string& state,
                             std::optional<double> target_error) {
  std::string text;
  if (target_error.has_value()) {
    absl::StrAppendFormat(&text, "target error         %g %s\n", *target_error,
                          continuation.reached  ? "reached"
                          : continuation.biased ? "not reached: the estimate is biased, whatever the limit says"
                                                : "not reached: a larger --count is needed");
  }
  if (!state.empty()) {
    absl::StrAppendFormat(&text, "state                %s, %d gradients added\n", state, continuation.added);
  }
  return text;
}

}  // namespace gradoracle
