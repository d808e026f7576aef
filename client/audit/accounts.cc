#include "client/audit/accounts.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/accountant/label_privacy.h"
#include "core/accountant/rdp_accountant.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

nlohmann::json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

// The accountant's attacks in words.
std::string TitleOf(const std::string& attack) {
  if (attack == "covariance") return "watching";
  if (attack == "unit_diagonal") return "watching, unit diagonal";
  if (attack == "curvature_probe") return "the curvature probe";
  if (attack == "active") return "probing with large weights";
  if (attack == "combined") return "watching and probing together";
  return "no attack";
}

// One more line at the end of a list, unless it stands there already.
void Note(const std::string& sentence, nlohmann::json& sentences) {
  if (std::find(sentences.begin(), sentences.end(), sentence) == sentences.end()) sentences.push_back(sentence);
}

}  // namespace

nlohmann::json AccountantJson(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
                              absl::Span<const int64_t> budgets) {
  const CurvatureAccountant accountant(info, defence, profile);
  nlohmann::json json = {
      {"attack", nullptr}, {"curve", nlohmann::json::array()}, {"assumptions", nlohmann::json::array()}};
  for (const int64_t budget : budgets) {
    const LeakagePrediction prediction = accountant.Strongest(budget);
    json["attack"] = prediction.attack;  // at last that of the largest budget
    json["title"] = TitleOf(prediction.attack);
    json["curve"].push_back({{"gradients", budget},
                             {"attack", prediction.attack},
                             {"relative_error", NumberOrNull(prediction.relative_error)},
                             {"interval", {NumberOrNull(prediction.lower), NumberOrNull(prediction.upper)}}});
    for (const std::string& sentence : prediction.assumptions) Note(sentence, json["assumptions"]);
  }
  return json;
}

nlohmann::json PublicAccountantJson(const OracleInfo& info, absl::Span<const int64_t> budgets) {
  constexpr int64_t kMostFeatures = 512;
  if (!HasUnitDiagonal(info)) return NotApplicable("in raw units the scale of the Hessian is not known");
  if (info.noise.isotropic && !HasIsotropicNoise(info.defence)) {
    return NotApplicable("the oracle adds isotropic noise and does not tell its variance");
  }
  if (info.dimension > kMostFeatures) {
    return NotApplicable(absl::StrCat("not simulated for more than ", kMostFeatures, " features"));
  }
  CurvatureProfile flat;
  flat.hessian = Eigen::MatrixXd::Identity(info.dimension, info.dimension);
  flat.residual_variance = 1;
  nlohmann::json json = AccountantJson(info, info.defence, flat, budgets);
  json["applicable"] = true;
  json["assumptions"].push_back(
      "standardised data that is hardest to know: all directions equally long, Gaussian tails, targets all noise; "
      "other "
      "data is known sooner");
  return json;
}

nlohmann::json PredictedJson(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
                             bool slopes, int64_t batch_size, int64_t count) {
  std::optional<LeakagePrediction> best;
  for (LeakagePrediction& prediction : PredictLeakage(info, defence, profile, batch_size, count)) {
    if (prediction.attack == "combined" || (prediction.attack == "active") != slopes) continue;
    if (!best.has_value() || prediction.lower < best->lower) best = std::move(prediction);
  }
  if (!best.has_value()) return nullptr;
  return {{"attack", best->attack},
          {"relative_error", NumberOrNull(best->relative_error)},
          {"interval", {NumberOrNull(best->lower), NumberOrNull(best->upper)}}};
}

std::string AgreementSentence(const nlohmann::json& accountant, const nlohmann::json& strongest) {
  int64_t compared = 0;
  std::vector<std::string> above, below;
  for (size_t index = 0; index < strongest.size(); ++index) {
    const nlohmann::json& interval = accountant["curve"][index]["interval"];
    const nlohmann::json& error = strongest[index]["relative_error"];
    if (!error.is_number() || !interval[0].is_number() || !interval[1].is_number()) continue;
    ++compared;
    const std::string gradients = absl::StrCat(strongest[index]["gradients"].get<int64_t>());
    if (error.get<double>() > interval[1].get<double>()) above.push_back(gradients);
    if (error.get<double>() < interval[0].get<double>()) below.push_back(gradients);
  }
  if (compared == 0) return "No measured error to compare the prediction with.";
  if (above.empty() && below.empty()) {
    return absl::StrFormat("All %d measured errors lie within the predicted intervals.", compared);
  }
  std::string sentence = absl::StrFormat("Of %d measured errors %d lie within the predicted intervals.", compared,
                                         compared - static_cast<int64_t>(above.size() + below.size()));
  if (!below.empty()) {
    absl::StrAppend(&sentence, " Below, so that an attack is stronger than predicted: after ",
                    absl::StrJoin(below, ", "), " gradients.");
  }
  if (!above.empty()) {
    absl::StrAppend(&sentence, " Above, so that the attacks tried did less than predicted: after ",
                    absl::StrJoin(above, ", "), " gradients.");
  }
  return sentence;
}

nlohmann::json LabelPrivacyJson(const OracleInfo& info, const DefencePolicy& defence, const AuditOptions& options,
                                absl::Span<const int64_t> budgets) {
  if (const absl::Status valid = CheckLabelPrivacy(info, defence.reply_grid.has_value()); !valid.ok()) {
    return NotApplicable(std::string(valid.message()));
  }
  if (!options.label_width.has_value()) {
    return NotApplicable("--label-width W is needed: the width of the public range that every target lies in");
  }
  nlohmann::json json = {{"applicable", true},
                         {"reason", nullptr},
                         {"delta", options.privacy_delta},
                         {"curve", nlohmann::json::array()},
                         {"assumptions", LabelPrivacyAssumptions(defence.max_participation.has_value())}};
  for (const int64_t budget : budgets) {
    const int64_t uses = std::min(budget, defence.max_participation.value_or(budget));
    const absl::StatusOr<LabelPrivacy> privacy = AccountLabels(*options.label_width, *info.noise.injected_variance,
                                                               static_cast<double>(uses), options.privacy_delta);
    if (!privacy.ok()) return NotApplicable(std::string(privacy.status().message()));
    json["curve"].push_back({{"gradients", budget}, {"epsilon", privacy->epsilon}, {"rho", privacy->rho}});
  }
  return json;
}

nlohmann::json GradientPrivacyJson(const OracleInfo& info, const DefencePolicy& defence, const AuditOptions& options,
                                   absl::Span<const int64_t> budgets) {
  if (!defence.clip_norm.has_value() || !defence.gradient_noise_multiplier.has_value()) {
    return NotApplicable("without --clip-norm and --gradient-noise-multiplier nothing bounds what a row shows");
  }
  SampledGaussian mechanism;
  mechanism.sampling_rate =
      static_cast<double>(info.limits.max_batch_size) / static_cast<double>(std::max<int64_t>(1, info.row_count));
  mechanism.noise_multiplier = *defence.gradient_noise_multiplier;
  nlohmann::json json = {{"applicable", true},
                         {"reason", nullptr},
                         {"delta", options.privacy_delta},
                         {"curve", nlohmann::json::array()},
                         {"assumptions", GradientPrivacyAssumptions()}};
  for (const int64_t budget : budgets) {
    const absl::StatusOr<double> epsilon = SampledGaussianEpsilon(mechanism, budget, options.privacy_delta);
    if (!epsilon.ok()) return NotApplicable(std::string(epsilon.status().message()));
    json["curve"].push_back({{"gradients", budget}, {"epsilon", NumberOrNull(*epsilon)}});
  }
  return json;
}

absl::Status CheckPrivacyDelta(double delta) {
  if (delta > 0 && delta < 1) return absl::OkStatus();
  return InvalidField("PRIVACY_PARAMETER", "privacy_delta",
                      absl::StrCat("privacy_delta is ", delta, ", but must be above 0 and below 1"));
}

nlohmann::json NotApplicable(const std::string& reason) { return {{"applicable", false}, {"reason", reason}}; }

}  // namespace gradoracle
