#include "client/audit/simulation.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "Eigen/QR"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/audit/accounts.h"
#include "client/audit/attacked_source.h"
#include "client/audit/audit_run.h"
#include "client/audit/claiming_source.h"
#include "client/audit/defence_variants.h"
#include "client/audit/findings.h"
#include "client/audit/participation_source.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Comparisons of policies: at fewer gradients than the curves, and fewer times.
constexpr int64_t kComparedRepetitions = 3;
constexpr int64_t kComparedGradients = 1000;
constexpr int64_t kLargestDifferencingBatch = 4096;

// A source of that oracle, with books of its own where its policy caps participation.
std::unique_ptr<GradientSource> LocalSource(const LocalOracle& oracle, const std::string& seed) {
  auto source = std::make_unique<LocalGradientSource>(&oracle, SeededKeys(seed));
  const std::optional<int64_t> cap = oracle.defence().max_participation;
  if (!cap.has_value()) return source;
  return std::make_unique<ParticipationSource>(std::move(source), oracle.info().row_count, *cap);
}

OpenSource OpenLocal(std::shared_ptr<const LocalOracle> oracle) {
  return [oracle](const std::string& seed) { return LocalSource(*oracle, seed); };
}

// The same oracle, claiming to be another.
OpenSource OpenClaiming(std::shared_ptr<const LocalOracle> oracle, const OracleInfo& claim) {
  return [oracle, claim](const std::string& seed) -> std::unique_ptr<GradientSource> {
    return std::make_unique<ClaimingSource>(LocalSource(*oracle, seed), claim);
  };
}

int64_t ComparedGradients(const Scenario& policy) {
  return std::min(policy.budgets.back(), std::max(kComparedGradients, 8 * policy.info.dimension));
}

// Policies whose noise is this many times n, the attacker believing that it is n.
struct CalibrationVariant {
  const char* name;
  double scale;  // 0: no noise injected
};
constexpr CalibrationVariant kCalibrations[] = {{"calibrated", 1}, {"0.9n", 0.9}, {"1.1n", 1.1}, {"none", 0}};

// The same data, in the units served, under another policy.
absl::StatusOr<std::shared_ptr<const LocalOracle>> Alter(const LocalOracle& oracle, OracleOptions policy) {
  policy.standardise = false;  // already done
  policy.scaling_path.clear();
  GRADORACLE_ASSIGN_OR_RETURN(std::unique_ptr<LocalOracle> altered, LocalOracle::FromData(oracle.data(), policy));
  return std::shared_ptr<const LocalOracle>(std::move(altered));
}

// What callers of an altered oracle are told: its limits and defences, and the units of the true one.
OracleInfo AlteredInfo(const LocalOracle& altered, const OracleInfo& info) {
  OracleInfo told = altered.info();
  told.scaling = info.scaling;
  told.feature_names = info.feature_names;
  return told;
}

struct DefendedScenario {
  DefenceVariant variant;
  Scenario scenario;
  DefencePolicy defence;  // in force, told or not
};

// Each defence alone on top of the policy, under the three ways of asking.
std::vector<DefendedScenario> DefendedScenarios(const LocalOracle& oracle, const OracleOptions& policy,
                                                const Scenario& model, double error) {
  const int64_t gradients = ComparedGradients(model);
  std::vector<DefendedScenario> defended;
  for (DefenceVariant& variant : DefenceVariants(oracle, policy, model.setting.batch_size, gradients, error)) {
    const absl::StatusOr<std::shared_ptr<const LocalOracle>> altered = Alter(oracle, variant.policy);
    if (!altered.ok()) continue;  // this data cannot be served so
    Scenario scenario = model;
    scenario.name = absl::StrCat("defence:", variant.name);
    scenario.info = AlteredInfo(**altered, model.info);
    scenario.open = OpenClaiming(*altered, scenario.info);
    scenario.setting.batch_size = std::max(model.setting.batch_size, scenario.info.limits.min_batch_size);
    scenario.attacks = {FindAttack("covariance"), FindAttack("active_large_batch"), FindAttack("averaging")};
    scenario.budgets = {gradients};
    scenario.repetitions = std::min(model.repetitions, kComparedRepetitions);
    if (scenario.setting.batch_size > scenario.info.limits.max_batch_size) continue;
    defended.push_back({std::move(variant), std::move(scenario), (*altered)->defence()});
  }
  return defended;
}

// The heat map, with what the accountant predicts for each. Of the refinements of an attack the best counts: the owner
// should not count on a clumsy attacker.
nlohmann::json DefencesJson(const std::vector<DefendedScenario>& defended, const CurvatureProfile& profile,
                            const TaskResults& results, double level) {
  nlohmann::json defences = nlohmann::json::array();
  for (const DefendedScenario& one : defended) {
    nlohmann::json cells = nlohmann::json::array();
    const std::vector<AttackErrors> all = CollectErrors(one.scenario, results);
    for (const Attack* attack : one.scenario.attacks) {
      std::optional<std::vector<double>> best;
      for (const AttackErrors& errors : all) {
        if (errors.attack != attack || errors.values.back().empty()) continue;
        if (!best.has_value() || Median(errors.values.back()) < Median(*best)) best = errors.values.back();
      }
      nlohmann::json cell = {{"attack", attack->name},
                             {"gradients", one.scenario.budgets.back()},
                             {"relative_error", nullptr},
                             {"interval", nullptr}};
      cell["predicted"] =
          PredictedJson(one.scenario.info, one.defence, profile, /*slopes=*/!attack->covariance,
                        attack->batch_size(one.scenario.info, one.scenario.setting), one.scenario.budgets.back());
      if (best.has_value()) {
        cell["relative_error"] = Median(*best);
        cell["interval"] = IntervalJson(MedianInterval(*best, level));
        cell["repetitions"] = best->size();
      }
      cells.push_back(std::move(cell));
    }
    defences.push_back({{"name", one.variant.name},
                        {"title", one.variant.title},
                        {"setting", one.variant.setting},
                        {"stops", one.variant.stops},
                        {"does_not_stop", one.variant.does_not_stop},
                        {"theory", one.variant.theory},
                        {"cells", std::move(cells)}});
  }
  return defences;
}

absl::StatusOr<Scenario> CalibrationScenario(const CalibrationVariant& variant, const LocalOracle& oracle,
                                             const OracleOptions& policy, const Scenario& model) {
  OracleOptions options = policy;
  options.noise = NoisePolicy{};
  if (variant.scale == 0) options.noise.rule = NoiseRule::kNone;
  if (variant.scale > 0 && variant.scale != 1) options.noise = {NoiseRule::kScaled, variant.scale, 0};
  GRADORACLE_ASSIGN_OR_RETURN(std::shared_ptr<const LocalOracle> altered, Alter(oracle, std::move(options)));
  Scenario scenario = model;
  scenario.name = absl::StrCat("calibration:", variant.name);
  scenario.info.noise.rule = NoiseRule::kCalibrated;
  scenario.info.noise.scale.reset();
  scenario.info.noise.injected_variance.reset();
  scenario.open = OpenClaiming(std::move(altered), scenario.info);
  scenario.attacks = {FindAttack("covariance")};
  return scenario;
}

// Scenarios of the active attack, at the largest batches, with narrower limits on the norm than the policy's.
std::vector<Scenario> NormScenarios(std::shared_ptr<const LocalOracle> oracle, const Scenario& policy) {
  std::vector<Scenario> scenarios;
  for (const double share : {0.01, 0.03, 0.1, 0.3, 1.0}) {
    Scenario scenario = policy;
    scenario.info.limits.max_weights_norm *= share;
    scenario.name = absl::StrFormat("norm:%g", scenario.info.limits.max_weights_norm);
    scenario.open = OpenClaiming(oracle, scenario.info);
    scenario.attacks = {FindAttack("active_large_batch")};
    scenario.budgets = {ComparedGradients(policy)};
    scenario.repetitions = std::min(policy.repetitions, kComparedRepetitions);
    scenarios.push_back(std::move(scenario));
  }
  return scenarios;
}

std::optional<double> MedianAtLargestBudget(const std::vector<AttackErrors>& all) {
  std::optional<double> least;
  for (const AttackErrors& errors : all) {
    if (errors.values.back().empty()) continue;
    const double median = Median(errors.values.back());
    least = std::min(least.value_or(median), median);
  }
  return least;
}

nlohmann::json WeightsNormFinding(const std::vector<Scenario>& norms, const Scenario& policy,
                                  const TaskResults& results) {
  Scenario watching = policy;
  watching.attacks = {FindAttack("covariance")};
  std::vector<AttackErrors> watched = CollectErrors(watching, results);
  // At the first checkpoint with as many gradients as the probing had.
  const int64_t gradients = norms.front().budgets.back();
  const auto checkpoint = std::lower_bound(policy.budgets.begin(), policy.budgets.end(), gradients);
  for (AttackErrors& errors : watched)
    errors.values.resize(static_cast<size_t>(checkpoint - policy.budgets.begin()) + 1);
  const std::optional<double> passive = MedianAtLargestBudget(watched);
  nlohmann::json curve = nlohmann::json::array();
  std::optional<double> at_cap;
  for (const Scenario& scenario : norms) {
    at_cap = MedianAtLargestBudget(CollectErrors(scenario, results));
    curve.push_back({{"weights_norm", scenario.info.limits.max_weights_norm},
                     {"relative_error", at_cap.has_value() ? nlohmann::json(*at_cap) : nlohmann::json(nullptr)}});
  }
  if (!passive.has_value() || !at_cap.has_value()) {
    nlohmann::json finding = NotTested(absl::StrCat("Probing with large weights needs more than the ", gradients,
                                                    " gradients of the budget, or was not reached."));
    finding["evidence"]["curve"] = std::move(curve);
    return finding;
  }
  const double norm = policy.info.limits.max_weights_norm;
  const double safe = std::sqrt(static_cast<double>(policy.setting.batch_size) / policy.truth->eigenvalues[0]);
  const bool found = *at_cap < *passive;
  nlohmann::json evidence = {{"gradients", gradients},
                             {"max_weights_norm", norm},
                             {"relative_error_at_cap", *at_cap},
                             {"relative_error_of_watching", *passive},
                             {"gradients_of_watching", *checkpoint},
                             {"norm_hidden_by_noise", safe},
                             {"curve", std::move(curve)}};
  evidence["sentence"] = absl::StrFormat(
      "With weights of norm %g, as far as the policy goes, %d gradients of the largest batches give the Hessian to "
      "within %.1f%%; watching gives %.1f%% after %d. %s At batch size %d the noise covers the signal up to a norm of "
      "about %.1f.",
      norm, gradients, 100 * *at_cap, 100 * *passive, *checkpoint,
      found ? "Large weights tell more than watching does." : "Large weights tell no more than watching does.",
      policy.setting.batch_size, safe);
  return {{"found", found}, {"evidence", std::move(evidence)}};
}

// Rows of median and of largest leverage x'H^+x.
std::vector<std::pair<std::string, int64_t>> RowsToAppend(const LocalOracle& oracle) {
  const Eigen::MatrixXd inverse = oracle.fit().hessian.completeOrthogonalDecomposition().pseudoInverse();
  const RowMajorMatrix& features = oracle.data().features;
  std::vector<std::pair<double, int64_t>> leverages;
  for (Eigen::Index i = 0; i < features.rows(); ++i) {
    leverages.emplace_back(features.row(i) * inverse * features.row(i).transpose(), i);
  }
  const auto middle = leverages.begin() + static_cast<std::ptrdiff_t>(leverages.size() / 2);
  std::nth_element(leverages.begin(), middle, leverages.end());
  const int64_t median = middle->second;
  return {{"median", median}, {"largest", std::max_element(leverages.begin(), leverages.end())->second}};
}

RegressionData WithoutRow(const RegressionData& data, int64_t row) {
  RegressionData rest;
  rest.feature_names = data.feature_names;
  rest.target_name = data.target_name;
  rest.features.resize(data.row_count() - 1, data.dimension());
  rest.targets.resize(data.row_count() - 1);
  rest.features << data.features.topRows(row), data.features.bottomRows(data.row_count() - 1 - row);
  rest.targets << data.targets.head(row), data.targets.tail(data.row_count() - 1 - row);
  return rest;
}

// The data without one row, and with it, served in the same units.
AuditTask DifferencingTask(std::shared_ptr<const LocalOracle> oracle, const OracleOptions& policy,
                           const AuditOptions& options, int64_t budget, const std::string& leverage, int64_t row) {
  AuditTask task;
  task.key = absl::StrCat("differencing/", leverage);
  const int64_t batch_size =
      std::min({oracle->info().limits.max_batch_size, oracle->info().row_count - 1, kLargestDifferencingBatch});
  task.cost = static_cast<double>(batch_size * budget);
  const std::string label = absl::StrCat(options.seed, "/", task.key);
  task.run = [=](const std::atomic<bool>& stop) -> absl::StatusOr<nlohmann::json> {
    OracleOptions served = policy;
    served.standardise = false;
    served.scaling_path.clear();
    served.max_batch_size.reset();
    GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<LocalOracle> smaller,
                                LocalOracle::FromData(WithoutRow(oracle->data(), row), served));
    const std::unique_ptr<GradientSource> before = LocalSource(*smaller, label + "/before");
    const std::unique_ptr<GradientSource> after = LocalSource(*oracle, label + "/after");
    AttackedSource attacked_before(*before, &stop), attacked_after(*after, &stop);
    std::mt19937_64 generator = GeneratorFor(label);
    return TryDifferencing(attacked_before, attacked_after, {leverage, oracle->data().features.row(row).transpose()},
                           batch_size, budget, generator);
  };
  return task;
}

// What of the budget the policy's floor leaves (options.curvature_floor).
absl::StatusOr<int64_t> BudgetAboveFloor(const LocalOracle& oracle, const CurvatureProfile& profile,
                                         const AuditOptions& options) {
  if (!options.curvature_floor.has_value()) return options.budget;
  const CurvatureAccountant accountant(oracle.info(), oracle.defence(), profile);
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t count, accountant.LargestCount(*options.curvature_floor));
  if (count > 0) return std::min(count, options.budget);
  return MakeError(absl::StatusCode::kFailedPrecondition, "CURVATURE_FLOOR_INVALID", "curvature_floor",
                   "--curvature-floor leaves not one gradient to be answered; lower it, or hide more: a smaller "
                   "--max-weights-norm, --mask-variance");
}

// In shuffled epochs under a cap K no request has more than K epochs of gradients.
int64_t CountWithinCap(const LocalOracle& oracle, int64_t batch_size, int64_t count) {
  const std::optional<int64_t> cap = oracle.defence().max_participation;
  if (!cap.has_value()) return count;
  const int64_t batches = std::max<int64_t>(1, oracle.info().row_count / batch_size);
  return *cap > count / batches ? count : *cap * batches;
}

}  // namespace

absl::StatusOr<AuditOutcome> Simulate(std::shared_ptr<const LocalOracle> oracle, const OracleOptions& policy,
                                      const AuditOptions& options) {
  const OracleInfo& info = oracle->info();
  GRADORACLE_RETURN_IF_ERROR(CheckBatchSize(options.batch_size, info.limits));
  const Truth truth = TruthOf(oracle->fit());
  const DefencePolicy& defence = oracle->defence();
  const CurvatureProfile profile = ProfileOf(*oracle);
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t budget, BudgetAboveFloor(*oracle, profile, options));
  Scenario scenario;
  scenario.name = "policy";
  scenario.info = info;
  scenario.open = OpenLocal(oracle);
  scenario.setting.batch_size = options.batch_size;
  scenario.setting.believed_noise_variance =
      options.total_noise_variance.value_or(static_cast<double>(options.batch_size));
  scenario.setting.published_weights = oracle->fit().weights;
  scenario.budgets = Checkpoints(budget);
  scenario.attacks = AllAttacks();
  scenario.repetitions = options.repetitions;
  scenario.truth = &truth;
  scenario.seed = options.seed;
  scenario.keeps_books = defence.max_participation.has_value();

  std::vector<Scenario> scenarios = {scenario};
  const std::vector<Scenario> norms = NormScenarios(oracle, scenario);
  scenarios.insert(scenarios.end(), norms.begin(), norms.end());
  std::vector<std::pair<std::string, Scenario>> calibrations;
  for (const CalibrationVariant& variant : kCalibrations) {
    if (info.noise.isotropic) break;  // there is no target noise to calibrate
    absl::StatusOr<Scenario> altered = CalibrationScenario(variant, *oracle, policy, scenario);
    if (!altered.ok()) continue;  // this data cannot be served so
    calibrations.emplace_back(variant.name, *altered);
    scenarios.push_back(*std::move(altered));
  }
  const std::vector<DefendedScenario> defended =
      DefendedScenarios(*oracle, policy, scenario, options.recommended_error);
  for (const DefendedScenario& one : defended) scenarios.push_back(one.scenario);
  std::vector<AuditTask> findings =
      OneOracleFindings(scenario.open, info, options.batch_size,
                        CountWithinCap(*oracle, options.batch_size, std::max(budget, kScaleGradients)), options.seed,
                        &oracle->data(), &oracle->fit());
  for (const auto& [leverage, row] : RowsToAppend(*oracle)) {
    findings.push_back(DifferencingTask(oracle, policy, options, budget, leverage, row));
  }
  GRADORACLE_ASSIGN_OR_RETURN(
      const RunOutcome outcome,
      RunTasks(OrderTasks(scenarios, std::move(findings)),
               RunOptionsOf(options, options.threads, Fingerprint("simulation", scenario, defence, options))));

  nlohmann::json found = FindingsJson(outcome);
  nlohmann::json cases = nlohmann::json::array();
  for (const char* leverage : {"median", "largest"}) {
    const auto result = outcome.results.find(absl::StrCat("differencing/", leverage));
    if (result != outcome.results.end()) cases.push_back(result->second);
  }
  found["differencing"] = cases.empty()
                              ? NotTested("The audit ended before this was tested, or the budget was too small for it.")
                              : DifferencingFinding(cases);
  found["weights_norm"] = WeightsNormFinding(norms, scenario, outcome.results);
  const Strongest strongest = FindStrongest(scenario, outcome.results, options.level);
  nlohmann::json report =
      CommonReport("simulation", scenario, defence, options, outcome, &oracle->fit(), std::move(found), strongest);
  AddAccountant(scenario, defence, profile, report);
  if (options.curvature_floor.has_value()) {
    report["policy"]["defences"]["curvature_floor"] = *options.curvature_floor;
    report["policy"]["max_gradients"] = budget;
    report["assumptions"].push_back(
        absl::StrCat("--curvature-floor ends the answers after ", budget,
                     " gradients or fewer for all callers together; here each attack was the only caller."));
  }
  report["defences"] = DefencesJson(defended, profile, outcome.results, options.level);
  report["calibration"] = nlohmann::json::array();
  for (const auto& [name, altered] : calibrations) {
    for (const AttackErrors& errors : CollectErrors(altered, outcome.results)) {
      if (errors.refinement != Refinement::kNone) continue;
      const auto variant = std::find_if(std::begin(kCalibrations), std::end(kCalibrations),
                                        [&](const CalibrationVariant& one) { return name == one.name; });
      const double total = variant->scale > 0
                               ? variant->scale
                               : oracle->fit().residual_variance / static_cast<double>(options.batch_size);
      report["calibration"].push_back({{"name", name},
                                       {"total_noise_variance_over_n", total},
                                       {"curve", CurveJson(altered.budgets, errors.values, options.level)}});
    }
  }
  report["assumptions"].push_back(
      "Simulated in this process with the owner's data and policy: what an outsider gets, without the network.");
  report["assumptions"].push_back(
      "covariance_at_model takes the least-squares weights as public; the candidates of batch_recovery are the "
      "owner's own rows; differencing takes the units as fixed between the two versions.");
  return Conclude(std::move(report), scenario, outcome, strongest);
}

}  // namespace gradoracle
