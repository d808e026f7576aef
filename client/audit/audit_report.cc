#include "client/audit/audit_report.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/audit/audit.h"
#include "core/error_norm.h"

namespace gradoracle {
namespace {

std::string RefinedTitle(const Attack& attack, Refinement refinement) {
  switch (refinement) {
    case Refinement::kNone:
      return attack.title;
    case Refinement::kUnitDiagonal:
      return absl::StrCat(attack.title, ", unit diagonal");
    case Refinement::kShrunk:
      return absl::StrCat(attack.title, ", shrunk");
  }
  return attack.title;
}

std::string RefinedDescription(const Attack& attack, Refinement refinement) {
  switch (refinement) {
    case Refinement::kNone:
      return attack.description;
    case Refinement::kUnitDiagonal:
      return absl::StrCat(attack.description, " Then scaled to the unit diagonal of standardised data.");
    case Refinement::kShrunk:
      return absl::StrCat(attack.description, " Then shrunk towards a multiple of the identity (OAS).");
  }
  return attack.description;
}

// Median over repetitions of a further curve of the tasks; null where the attack has none.
nlohmann::json MedianCurve(const Scenario& scenario, const TaskResults& results, const Attack& attack,
                           const char* curve) {
  std::vector<std::vector<double>> values(scenario.budgets.size());
  bool any = false;
  for (int64_t repetition = 0; repetition < scenario.repetitions; ++repetition) {
    const auto result = results.find(TaskKey(scenario, attack, repetition));
    if (result == results.end() || !result->second.contains(curve)) continue;
    for (size_t index = 0; index < values.size(); ++index) {
      const nlohmann::json& value = result->second[curve][index];
      if (!value.is_number()) continue;
      values[index].push_back(value.get<double>());
      any = true;
    }
  }
  if (!any) return nullptr;
  nlohmann::json medians = nlohmann::json::array();
  for (const std::vector<double>& sample : values) {
    medians.push_back(sample.empty() ? nlohmann::json(nullptr) : nlohmann::json(Median(sample)));
  }
  return medians;
}

// Why an attack has no curve; empty when it was run.
std::string WhyNot(const Scenario& scenario, const RunOutcome& outcome, const Attack& attack) {
  if (const absl::Status available = attack.available(scenario.info, scenario.setting); !available.ok()) {
    return std::string(available.message());
  }
  if (outcome.results.contains(TaskKey(scenario, attack, 0))) return "";
  const auto failure = outcome.failures.find(TaskKey(scenario, attack, 0));
  if (failure != outcome.failures.end()) return std::string(failure->second.message());
  return "the audit ended before this attack";
}

const nlohmann::json* FirstDetails(const Scenario& scenario, const TaskResults& results, const Strongest& strongest,
                                   const char* key) {
  if (!strongest.attack.has_value()) return nullptr;
  const Attack* attack = FindAttack(*strongest.attack);
  const auto result = results.find(TaskKey(scenario, *attack, 0));
  if (result == results.end() || !result->second.contains(key)) return nullptr;
  const nlohmann::json& details = result->second[key];
  return details.contains(strongest.suffix) ? &details[strongest.suffix] : nullptr;
}

// Two digits: "0.064%", "8.1%", "120%".
std::string Percent(double share) { return absl::StrFormat(share < 0.0995 ? "%.2g%%" : "%.0f%%", 100 * share); }

// "10,000"
std::string Grouped(int64_t count) {
  const std::string digits = absl::StrCat(count);
  std::string grouped;
  for (size_t place = 0; place < digits.size(); ++place) {
    if (place > 0 && (digits.size() - place) % 3 == 0) grouped += ',';
    grouped += digits[place];
  }
  return grouped;
}

// What is no failure of the audit: the oracle does not answer that question, to nobody.
bool IsRefusalOfPolicy(const absl::Status& status, const Scenario& scenario) {
  return absl::IsInvalidArgument(status) || absl::IsOutOfRange(status) || absl::IsFailedPrecondition(status) ||
         (scenario.keeps_books && absl::IsResourceExhausted(status));
}

bool Found(const nlohmann::json& findings, const char* name) {
  return findings.contains(name) && findings[name]["found"].is_boolean() && findings[name]["found"].get<bool>();
}

}  // namespace

nlohmann::json AttacksJson(const Scenario& scenario, const RunOutcome& outcome, double level) {
  nlohmann::json attacks = nlohmann::json::array();
  for (const AttackErrors& errors : CollectErrors(scenario, outcome.results)) {
    const Attack& attack = *errors.attack;
    const std::string reason = WhyNot(scenario, outcome, attack);
    nlohmann::json one = {{"name", errors.name()},
                          {"title", RefinedTitle(attack, errors.refinement)},
                          {"description", RefinedDescription(attack, errors.refinement)},
                          {"requirement", attack.requirement},
                          {"batch_size", attack.batch_size(scenario.info, scenario.setting)},
                          {"available", reason.empty()},
                          {"curve", nlohmann::json::array()}};
    if (!reason.empty()) one["reason"] = reason;
    if (reason.empty()) {
      one["curve"] = CurveJson(scenario.budgets, errors.values, level);
      if (errors.refinement == Refinement::kNone) {
        if (nlohmann::json weights = MedianCurve(scenario, outcome.results, attack, "weights_error");
            !weights.is_null()) {
          one["weights_error"] = std::move(weights);
        }
      }
    }
    attacks.push_back(std::move(one));
  }
  return attacks;
}

Strongest FindStrongest(const Scenario& scenario, const TaskResults& results, double level) {
  Strongest strongest;
  strongest.points = nlohmann::json::array();
  const std::vector<AttackErrors> all = CollectErrors(scenario, results);
  for (size_t index = 0; index < scenario.budgets.size(); ++index) {
    std::vector<std::vector<double>> values;
    for (const AttackErrors& errors : all) values.push_back(errors.values[index]);
    std::mt19937_64 generator(scenario.seed);  // of the bootstrap
    const std::optional<SmallestMedian> smallest = FindSmallestMedian(values, level, generator);
    nlohmann::json point = {{"gradients", scenario.budgets[index]},
                            {"attack", scenario.attacks.front()->name},
                            {"relative_error", nullptr},
                            {"interval", nullptr}};
    if (smallest.has_value()) {
      const AttackErrors& errors = all[smallest->index];
      point["attack"] = errors.name();
      point["relative_error"] = smallest->median;
      point["interval"] = IntervalJson(smallest->interval);
      strongest.curve.emplace_back(scenario.budgets[index], smallest->median);
      strongest.attack = errors.attack->name;
      strongest.attack_title = RefinedTitle(*errors.attack, errors.refinement);
      strongest.suffix = RefinementSuffix(errors.refinement);
      if (!strongest.least.has_value() || smallest->median < *strongest.least) {
        strongest.least = smallest->median;
        strongest.least_title = *strongest.attack_title;
      }
    }
    strongest.points.push_back(std::move(point));
  }
  return strongest;
}

nlohmann::json SpectrumJson(const Scenario& scenario, const TaskResults& results, const Strongest& strongest) {
  nlohmann::json spectrum = {{"true", nullptr},
                             {"recovered", nlohmann::json::array()},
                             {"attack", nullptr},
                             {"gradients", scenario.budgets.back()}};
  if (scenario.truth != nullptr) {
    spectrum["true"] = std::vector<double>(scenario.truth->eigenvalues.begin(), scenario.truth->eigenvalues.end());
  }
  if (const nlohmann::json* recovered = FirstDetails(scenario, results, strongest, "spectrum"); recovered != nullptr) {
    spectrum["recovered"] = *recovered;
    spectrum["attack"] = *strongest.attack + strongest.suffix;
  } else if (scenario.truth == nullptr) {
    // Without truth no attack is the strongest: what watching alone gives, refined as far as the oracle tells.
    const auto watching = results.find(TaskKey(scenario, *scenario.attacks.front(), 0));
    if (watching != results.end() && watching->second.contains("spectrum")) {
      const nlohmann::json& all = watching->second["spectrum"];
      const std::string suffix = all.contains("_unit") ? "_unit" : "";
      spectrum["recovered"] = all[suffix];
      spectrum["attack"] = scenario.attacks.front()->name + suffix;
    }
  }
  return spectrum;
}

nlohmann::json AlignmentJson(const Scenario& scenario, const TaskResults& results, const Strongest& strongest) {
  const nlohmann::json* overlaps = FirstDetails(scenario, results, strongest, "overlaps");
  if (overlaps == nullptr) return nullptr;
  nlohmann::json alignment = nlohmann::json::array();
  for (size_t k = 0; k < overlaps->size(); ++k) alignment.push_back({{"subspace", k + 1}, {"overlap", (*overlaps)[k]}});
  return alignment;
}

nlohmann::json PolicyJson(const OracleInfo& info, const DefencePolicy& defence) {
  nlohmann::json policy = {{"noise_rule", std::string(NoiseRuleName(info.noise.rule))},
                           {"extra_noise_variances", info.noise.extra_variances},
                           {"curvature_probe", info.noise.curvature_probe},
                           {"sampling", std::string(SamplingName(info.sampling))},
                           {"min_batch_size", info.limits.min_batch_size},
                           {"max_batch_size", info.limits.max_batch_size},
                           {"max_count", info.limits.max_count},
                           {"max_weights_norm", info.limits.max_weights_norm},
                           {"defences", nlohmann::json::object()}};
  if (info.noise.scale.has_value()) policy["noise_scale"] = *info.noise.scale;
  if (info.noise.injected_variance.has_value()) policy["noise_variance"] = *info.noise.injected_variance;
  nlohmann::json& defences = policy["defences"];
  if (defence.clip_norm.has_value()) defences["clip_norm"] = *defence.clip_norm;
  if (defence.gradient_noise_multiplier.has_value()) {
    defences["gradient_noise_multiplier"] = *defence.gradient_noise_multiplier;
  }
  if (defence.mask_variance.has_value()) defences["mask_variance"] = *defence.mask_variance;
  if (defence.weights_grid.has_value()) defences["weights_grid"] = *defence.weights_grid;
  if (defence.max_participation.has_value()) defences["max_participation"] = *defence.max_participation;
  if (defence.reply_grid.has_value()) defences["reply_grid"] = *defence.reply_grid;
  return policy;
}

std::string Verdict(const Strongest& strongest, const nlohmann::json& findings, double baseline) {
  std::string verdict;
  if (strongest.curve.empty()) {
    verdict = "Without the owner's data it is not known how much of the curvature was learnt.";
  } else {
    // Who may ask for many may ask for fewer: under a cap on participation that can be the better attack.
    const int64_t gradients = strongest.curve.back().first;
    const double error = *strongest.least;
    if (error < baseline) {
      verdict = absl::StrFormat("Whoever may ask for %s gradients learns the curvature of this data to within %s (%s).",
                                Grouped(gradients), Percent(error), strongest.least_title);
    } else {
      verdict = absl::StrFormat("%s gradients do not yet tell the curvature of this data (error %s%s).",
                                Grouped(gradients), Percent(error),
                                baseline < 1 ? absl::StrCat("; asking nothing errs by ", Percent(baseline)) : "");
    }
  }
  std::vector<std::string> leaks;
  if (Found(findings, "row_reconstruction")) leaks.push_back("single rows can be read off gradients");
  if (Found(findings, "batch_recovery"))
    leaks.push_back("the members of a batch can be told from a list of candidates");
  if (Found(findings, "support_leak")) leaks.push_back("gradients show which categories a batch lacks");
  if (Found(findings, "differencing")) leaks.push_back("a row added between two versions can be found");
  if (Found(findings, "miscalibration")) leaks.push_back("the noise is not calibrated");
  if (!leaks.empty()) absl::StrAppend(&verdict, " Beyond that: ", absl::StrJoin(leaks, "; "), ".");
  return verdict;
}

std::vector<std::string> UntriedAttacks(const Scenario& scenario, const RunOutcome& outcome) {
  std::vector<std::string> untried;
  for (const Attack* attack : scenario.attacks) {
    const std::string key = TaskKey(scenario, *attack, 0);
    if (outcome.results.contains(key) || !attack->available(scenario.info, scenario.setting).ok()) continue;
    const auto failure = outcome.failures.find(key);
    if (failure == outcome.failures.end() || !IsRefusalOfPolicy(failure->second, scenario)) {
      untried.push_back(attack->title);
    }
  }
  return untried;
}

void AddRecommendation(const Strongest& strongest, double error, double baseline,
                       const std::vector<std::string>& untried, nlohmann::json& report) {
  std::optional<int64_t> budget;
  if (untried.empty() && error <= baseline) budget = BudgetKeepingError(strongest.curve, error);
  report["recommended_budget"] = budget.has_value() ? nlohmann::json(*budget) : nlohmann::json(nullptr);
  std::string sentence;
  if (strongest.curve.empty()) {
    sentence = "No budget can be recommended without the owner's data.";
  } else if (!untried.empty()) {
    sentence = absl::StrCat("No budget is recommended, since there is no result of: ", absl::StrJoin(untried, ", "),
                            ". Run the same command again.");
  } else if (error > baseline) {
    sentence = absl::StrFormat(
        "No budget keeps everybody above an error of %s: asking nothing already errs by only %s. Choose a smaller "
        "--recommend-error.",
        Percent(error), Percent(baseline));
  } else if (!budget.has_value()) {
    sentence = absl::StrFormat(
        "No budget keeps the strongest attack above an error of %s: %s gradients already pass it. Change the policy.",
        Percent(error), Grouped(strongest.curve.front().first));
  } else if (*budget == strongest.curve.back().first) {
    sentence =
        absl::StrFormat("Up to %s gradients, all that were tried, the strongest attack stays above an error of %s.",
                        Grouped(*budget), Percent(error));
  } else {
    sentence = absl::StrFormat(
        "Up to about %s gradients in all, for everybody together, the strongest attack stays "
        "above an error of %s.",
        Grouped(*budget), Percent(error));
  }
  report["recommendation"] = {{"relative_error", error}, {"sentence", sentence}};
}

double BaselineError(const Truth& truth, bool unit_diagonal) {
  if (!unit_diagonal) return 1;
  return RelativeError(Eigen::MatrixXd::Identity(truth.hessian.rows(), truth.hessian.cols()), truth.hessian)
      .value_or(1);
}

}  // namespace gradoracle
