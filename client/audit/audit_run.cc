#include "client/audit/audit_run.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/audit/accounts.h"
#include "client/audit/attacked_source.h"
#include "client/audit/findings.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/version.h"

namespace gradoracle {
namespace {

constexpr int64_t kFewestBudget = 10;
constexpr int64_t kLeakGradients = 2000;
constexpr int64_t kRowGradients = 64;
constexpr int64_t kBatchGradients = 8;

}  // namespace

absl::Status CheckAuditOptions(const AuditOptions& options) {
  if (options.budget < kFewestBudget) {
    return InvalidField("AUDIT_BUDGET", "budget",
                        absl::StrCat("budget is ", options.budget, ", but must be at least ", kFewestBudget));
  }
  if (options.repetitions < 1) {
    return InvalidField("AUDIT_REPETITIONS", "repetitions",
                        absl::StrCat("repetitions is ", options.repetitions, ", but must be at least 1"));
  }
  if (!(options.recommended_error > 0 && options.recommended_error <= 1)) {
    return InvalidField(
        "AUDIT_ERROR", "recommend_error",
        absl::StrCat("recommend_error is ", options.recommended_error, ", but must be above 0 and at most 1"));
  }
  if (options.batch_size < 1) {
    return FieldOutOfRange("AUDIT_BATCH_SIZE", "batch_size",
                           absl::StrCat("batch_size is ", options.batch_size, ", but must be at least 1"));
  }
  if (!(options.level > 0 && options.level < 1)) {
    return InvalidField("AUDIT_LEVEL", "level",
                        absl::StrCat("level is ", options.level, ", but must be above 0 and below 1"));
  }
  if (const double variance = options.total_noise_variance.value_or(1); !(std::isfinite(variance) && variance > 0)) {
    return InvalidField("AUDIT_NOISE_VARIANCE", "total_noise_variance",
                        absl::StrCat("total_noise_variance is ", variance, ", but must be finite and above 0"));
  }
  if (options.label_width.has_value() && !(std::isfinite(*options.label_width) && *options.label_width > 0)) {
    return InvalidField("PRIVACY_PARAMETER", "label_width",
                        absl::StrCat("label_width is ", *options.label_width, ", but must be finite and above 0"));
  }
  return CheckPrivacyDelta(options.privacy_delta);
}

absl::Status CheckBatchSize(int64_t batch_size, const QueryLimits& limits) {
  if (batch_size >= limits.min_batch_size && batch_size <= limits.max_batch_size) return absl::OkStatus();
  return FieldOutOfRange("AUDIT_BATCH_SIZE", "batch_size",
                         absl::StrCat("batch_size is ", batch_size, ", but the policy allows ", limits.min_batch_size,
                                      " to ", limits.max_batch_size));
}

std::vector<const Attack*> AllAttacks() {
  std::vector<const Attack*> attacks;
  for (const Attack& attack : CurvatureAttacks()) attacks.push_back(&attack);
  return attacks;
}

std::mt19937_64 GeneratorFor(const std::string& seed) {
  const std::string digest = Sha256(seed);
  std::seed_seq words(digest.begin(), digest.end());
  return std::mt19937_64(words);
}

namespace {

// Of the owner's truth that errors are measured by; empty where there is none.
std::string TruthDigest(const Truth* truth) {
  if (truth == nullptr) return "";
  const auto bytes = [](const auto& matrix) {
    return absl::string_view(reinterpret_cast<const char*>(matrix.data()),
                             static_cast<size_t>(matrix.size()) * sizeof(double));
  };
  return Sha256Hex(absl::StrCat(bytes(truth->hessian), bytes(truth->weights)));
}

}  // namespace

std::string Fingerprint(const std::string& mode, const Scenario& scenario, const DefencePolicy& defence,
                        const AuditOptions& options) {
  const OracleInfo& info = scenario.info;
  const nlohmann::json all = {{"mode", mode},
                              {"version", VersionString()},
                              {"dataset", info.dataset_version},
                              {"row_count", info.row_count},
                              {"dimension", info.dimension},
                              {"scaling", info.scaling},
                              {"policy", PolicyJson(info, defence)},
                              {"batch_size", options.batch_size},
                              {"budget", scenario.budgets.back()},
                              {"seed", options.seed},
                              {"total_noise_variance", options.total_noise_variance.value_or(0)},
                              {"recommended_error", options.recommended_error},
                              {"truth", TruthDigest(scenario.truth)}};
  return Sha256Hex(all.dump());
}

std::vector<AuditTask> OrderTasks(const std::vector<Scenario>& scenarios, std::vector<AuditTask> findings) {
  std::vector<AuditTask> tasks;
  std::vector<std::pair<double, AuditTask>> repeated;
  for (const Scenario& scenario : scenarios) {
    for (AuditTask& task : TasksOf(scenario, 0)) tasks.push_back(std::move(task));
    for (int64_t repetition = 1; repetition < scenario.repetitions; ++repetition) {
      for (AuditTask& task : TasksOf(scenario, repetition)) {
        const double spent = task.cost * static_cast<double>(repetition);
        repeated.emplace_back(spent, std::move(task));
      }
    }
  }
  for (AuditTask& task : findings) tasks.push_back(std::move(task));
  std::stable_sort(repeated.begin(), repeated.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [spent, task] : repeated) tasks.push_back(std::move(task));
  return tasks;
}

RunOptions RunOptionsOf(const AuditOptions& options, int threads, const std::string& fingerprint) {
  RunOptions run;
  run.threads = threads;
  run.deadline = options.longest == absl::InfiniteDuration() ? absl::InfiniteFuture() : absl::Now() + options.longest;
  run.interrupted = options.interrupted;
  run.state_path = options.state_path;
  run.fingerprint = fingerprint;
  run.progress = options.progress;
  return run;
}

namespace {

// A finding as a task: `find` is given a source that counts and can be stopped.
AuditTask FindingTask(const std::string& name, double cost, uint64_t seed, OpenSource open,
                      std::function<absl::StatusOr<nlohmann::json>(GradientSource&, absl::BitGenRef)> find) {
  AuditTask task;
  task.key = absl::StrCat("finding/", name);
  task.cost = cost;
  const std::string label = absl::StrCat(seed, "/", task.key);
  task.run = [label, open = std::move(open), find = std::move(find)](const std::atomic<bool>& stop) {
    const std::unique_ptr<GradientSource> source = open(label);
    AttackedSource attacked(*source, &stop);
    std::mt19937_64 generator = GeneratorFor(label);
    return find(attacked, generator);
  };
  return task;
}

}  // namespace

std::vector<AuditTask> OneOracleFindings(const OpenSource& open, const OracleInfo& info, int64_t batch_size,
                                         int64_t count, uint64_t seed, const RegressionData* rows,
                                         const LeastSquaresFit* fit) {
  const double small_batch = static_cast<double>(std::max<int64_t>(info.limits.min_batch_size, 8));
  const auto limited = [count](int64_t wanted) { return std::min(wanted, count); };
  std::vector<AuditTask> tasks;
  tasks.push_back(FindingTask("support_leak", small_batch * static_cast<double>(kLeakGradients), seed, open,
                              [=](GradientSource& source, absl::BitGenRef generator) {
                                return FindSupportLeakIn(source, limited(kLeakGradients), rows, generator);
                              }));
  tasks.push_back(
      FindingTask("row_reconstruction", small_batch, seed, open, [=](GradientSource& source, absl::BitGenRef) {
        return FindRowReconstruction(source, limited(kRowGradients), rows);
      }));
  tasks.push_back(FindingTask("batch_recovery", small_batch, seed, open, [=](GradientSource& source, absl::BitGenRef) {
    return FindBatchRecovery(source, limited(kBatchGradients), rows);
  }));
  tasks.push_back(FindingTask("miscalibration", static_cast<double>(batch_size * kScaleGradients), seed, open,
                              [=](GradientSource& source, absl::BitGenRef) {
                                return FindMiscalibration(source, batch_size, limited(kScaleGradients), rows,
                                                          fit == nullptr ? nullptr : &fit->hessian,
                                                          fit == nullptr ? 0 : fit->residual_variance);
                              }));
  return tasks;
}

nlohmann::json FindingsJson(const RunOutcome& outcome) {
  nlohmann::json findings = nlohmann::json::object();
  for (const char* name : {"support_leak", "row_reconstruction", "batch_recovery", "miscalibration"}) {
    const std::string key = absl::StrCat("finding/", name);
    if (const auto result = outcome.results.find(key); result != outcome.results.end()) {
      findings[name] = result->second;
    } else if (const auto failure = outcome.failures.find(key); failure != outcome.failures.end()) {
      findings[name] = NotTested(std::string(failure->second.message()));
    } else {
      findings[name] = NotTested("The audit ended before this was tested.");
    }
  }
  return findings;
}

namespace {

nlohmann::json DatasetJson(const OracleInfo& info, const LeastSquaresFit* fit) {
  nlohmann::json dataset = {{"row_count", nullptr},      {"dimension", info.dimension},
                            {"scaling", info.scaling},   {"dataset_version", info.dataset_version},
                            {"effective_rank", nullptr}, {"residual_variance", nullptr}};
  if (info.row_count > 0) dataset["row_count"] = info.row_count;
  if (fit != nullptr) {
    dataset["effective_rank"] = EffectiveRank(fit->eigenvalues);
    dataset["residual_variance"] = fit->residual_variance;
  }
  if (!info.feature_names.empty()) dataset["feature_names"] = info.feature_names;
  return dataset;
}

}  // namespace

nlohmann::json CommonReport(const std::string& mode, const Scenario& policy, const DefencePolicy& defence,
                            const AuditOptions& options, const RunOutcome& outcome, const LeastSquaresFit* fit,
                            nlohmann::json findings, const Strongest& strongest) {
  const bool unit_diagonal = HasUnitDiagonal(policy.info);
  const double baseline = policy.truth == nullptr ? 1 : BaselineError(*policy.truth, unit_diagonal);
  nlohmann::json report = {{"schema", kAuditSchema},
                           {"version", VersionString()},
                           {"mode", mode},
                           {"dataset", DatasetJson(policy.info, fit)},
                           {"policy", PolicyJson(policy.info, defence)},
                           {"batch_size", options.batch_size},
                           {"budget", options.budget},
                           {"repetitions", options.repetitions},
                           {"complete", outcome.complete},
                           {"verdict", Verdict(strongest, findings, baseline)},
                           {"strongest", strongest.points},
                           {"attacks", AttacksJson(policy, outcome, options.level)},
                           {"accountant", nullptr},
                           {"defences", nullptr},
                           {"calibration", nullptr},
                           {"spectrum", SpectrumJson(policy, outcome.results, strongest)},
                           {"alignment", AlignmentJson(policy, outcome.results, strongest)},
                           {"label_privacy", LabelPrivacyJson(policy.info, defence, options, policy.budgets)},
                           {"gradient_privacy", GradientPrivacyJson(policy.info, defence, options, policy.budgets)},
                           {"findings", std::move(findings)}};
  const std::vector<std::string> untried = UntriedAttacks(policy, outcome);
  if (policy.truth != nullptr && !untried.empty()) {
    report["verdict"] = absl::StrCat(
        report["verdict"].get<std::string>(),
        outcome.complete ? absl::StrCat(" Not decided: there is no result of ", absl::StrJoin(untried, ", "),
                                        ", perhaps stronger: the oracle, or the way to it, failed.")
                         : " Unfinished: some attacks, perhaps stronger ones, were not run at all.");
  }
  if (policy.truth != nullptr) {
    report["baseline"] = {{"relative_error", baseline},
                          {"sentence", unit_diagonal ? "Error of asking nothing and taking the identity, since "
                                                       "standardised data has unit diagonal."
                                                     : "Error of asking nothing and taking zero."}};
  }
  AddRecommendation(strongest, options.recommended_error, baseline, untried, report);
  report["assumptions"] = {
      "The error is that of the whole Hessian in the spectral norm, relative to its own.",
      "At each budget the strongest attack is the one with the smallest median error: a minimum of medians, which "
      "overstates the leak rather than understating it. Its interval is a bootstrap over repetitions of that minimum.",
      "Other intervals are order statistics of the repetitions: they cover the median of the law that the attack's "
      "errors follow.",
      "Only the attacks listed were tried; a stronger one may exist."};
  return report;
}

void AddAccountant(const Scenario& policy, const DefencePolicy& defence, const CurvatureProfile& profile,
                   nlohmann::json& report) {
  report["accountant"] = AccountantJson(policy.info, defence, profile, policy.budgets);
  report["accountant"]["agreement"] = AgreementSentence(report["accountant"], report["strongest"]);
}

AuditOutcome Conclude(nlohmann::json report, const Scenario& policy, const RunOutcome& outcome,
                      const Strongest& strongest) {
  AuditOutcome result;
  result.untried = UntriedAttacks(policy, outcome);
  result.report = std::move(report);
  result.interrupted = outcome.interrupted;
  result.complete = outcome.complete;
  result.strongest_error = strongest.least;
  return result;
}

}  // namespace gradoracle
