#include "server/accounts/leakage_report.h"

#include <string>
#include <utility>

#include "core/accountant/curvature_accountant.h"
#include "core/accountant/label_privacy.h"
#include "core/accountant/rdp_accountant.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kCounts[] = {100, 1'000, 10'000, 100'000};
constexpr double kUsualFloor = 0.25;  // of the recommended budget, where the owner sets none

Json ToJson(const LeakagePrediction& prediction, int64_t count) {
  return {{"gradients", count},        {"attack", prediction.attack}, {"relative_error", prediction.relative_error},
          {"lower", prediction.lower}, {"upper", prediction.upper},   {"assumptions", prediction.assumptions}};
}

Json Refused(const absl::Status& why) { return {{"refused", std::string(why.message())}}; }

absl::StatusOr<Json> RecommendedBudget(const CurvatureAccountant& accountant, const ServerConfig& config) {
  const double floor = config.curvature_floor.value_or(kUsualFloor);
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t count, accountant.LargestCount(floor));
  return Json{{"gradients", count},
              {"relative_error", floor},
              {"assumptions",
               {"for all callers together, over all time",
                "at the lower end of the prediction for the strongest attack known here; others may do better"}}};
}

absl::StatusOr<Json> LabelPrivacyReport(const ServerConfig& config, const LocalOracle& oracle) {
  const OracleInfo& info = oracle.info();
  if (const absl::Status valid = CheckLabelPrivacy(info, oracle.defence().reply_grid.has_value()); !valid.ok()) {
    return Refused(valid);
  }
  if (!config.label_width.has_value()) {
    return Json{{"refused", "--label-width W is needed: the width of the public range that every target lies in"}};
  }
  const std::optional<int64_t> cap = oracle.defence().max_participation;
  Json epsilons = Json::array();
  for (const int64_t count : kCounts) {
    const auto participations = static_cast<double>(cap.value_or(count));
    GRADORACLE_ASSIGN_OR_RETURN(
        const LabelPrivacy privacy,
        AccountLabels(*config.label_width, *info.noise.injected_variance, participations, config.privacy_delta));
    if (cap.has_value()) {
      return Json{{"delta", config.privacy_delta},
                  {"rho", privacy.rho},
                  {"epsilon", privacy.epsilon},
                  {"zcdp_epsilon", privacy.zcdp_epsilon},
                  {"assumptions", LabelPrivacyAssumptions(true)}};
    }
    epsilons.push_back({{"gradients", count},
                        {"rho", privacy.rho},
                        {"epsilon", privacy.epsilon},
                        {"zcdp_epsilon", privacy.zcdp_epsilon}});
  }
  return Json{{"delta", config.privacy_delta},
              {"epsilons", std::move(epsilons)},
              {"assumptions", LabelPrivacyAssumptions(false)}};
}

absl::StatusOr<Json> GradientPrivacyReport(const ServerConfig& config, const LocalOracle& oracle) {
  const DefencePolicy& defence = oracle.defence();
  if (!defence.clip_norm.has_value()) {
    return Json{{"refused", "without --clip-norm and --gradient-noise-multiplier nothing bounds what a row shows"}};
  }
  SampledGaussian mechanism;
  mechanism.sampling_rate =
      static_cast<double>(oracle.info().limits.max_batch_size) / static_cast<double>(oracle.info().row_count);
  mechanism.noise_multiplier = *defence.gradient_noise_multiplier;
  Json epsilons = Json::array();
  for (const int64_t count : kCounts) {
    GRADORACLE_ASSIGN_OR_RETURN(const double epsilon, SampledGaussianEpsilon(mechanism, count, config.privacy_delta));
    epsilons.push_back({{"gradients", count}, {"epsilon", epsilon}});
  }
  return Json{{"delta", config.privacy_delta},
              {"sampling_rate", mechanism.sampling_rate},
              {"noise_multiplier", mechanism.noise_multiplier},
              {"epsilons", std::move(epsilons)},
              {"assumptions", GradientPrivacyAssumptions()}};
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> CurvatureFloorCount(const ServerConfig& config, const LocalOracle& oracle) {
  if (!config.curvature_floor.has_value()) return std::nullopt;
  const CurvatureAccountant accountant(oracle.info(), oracle.defence(), ProfileOf(oracle));
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t count, accountant.LargestCount(*config.curvature_floor));
  if (count > 0) return count;
  return MakeError(absl::StatusCode::kFailedPrecondition, "CURVATURE_FLOOR_INVALID", "curvature_floor",
                   "--curvature-floor leaves not one gradient to be answered; lower it, or hide more: a smaller "
                   "--max-weights-norm, --mask-variance");
}

absl::StatusOr<nlohmann::ordered_json> LeakageReport(const ServerConfig& config, const LocalOracle& oracle) {
  const CurvatureAccountant accountant(oracle.info(), oracle.defence(), ProfileOf(oracle));
  Json report;
  report["leakage"] = Json::array();
  for (const int64_t count : kCounts) report["leakage"].push_back(ToJson(accountant.Strongest(count), count));
  GRADORACLE_ASSIGN_OR_RETURN(report["recommended_budget"], RecommendedBudget(accountant, config));
  GRADORACLE_ASSIGN_OR_RETURN(report["label_privacy"], LabelPrivacyReport(config, oracle));
  GRADORACLE_ASSIGN_OR_RETURN(report["gradient_privacy"], GradientPrivacyReport(config, oracle));
  return report;
}

}  // namespace gradoracle
