#include "client/audit/scenario.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace gradoracle {
namespace {

constexpr int64_t kFewestRepetitions = 6;
constexpr double kCheap = 4;  // rows of a gradient, in setting.batch_size, up to which nothing is spared

double RowsPerGradient(const Scenario& scenario, const Attack& attack) {
  return static_cast<double>(attack.batch_size(scenario.info, scenario.setting));
}

double Cost(const Scenario& scenario, const Attack& attack) {
  // A covariance looks at one stream; the others begin anew at each budget.
  const int64_t gradients = attack.covariance
                                ? scenario.budgets.back()
                                : std::accumulate(scenario.budgets.begin(), scenario.budgets.end(), int64_t{0});
  // A gradient costs a few rows' work beside its batch.
  return static_cast<double>(gradients) * (32 + RowsPerGradient(scenario, attack));
}

}  // namespace

int64_t RepetitionsOf(const Scenario& scenario, const Attack& attack) {
  const double relative =
      RowsPerGradient(scenario, attack) / (kCheap * static_cast<double>(scenario.setting.batch_size));
  if (relative <= 1) return scenario.repetitions;
  const auto spared = static_cast<int64_t>(static_cast<double>(scenario.repetitions) / relative);
  return std::min(scenario.repetitions, std::max(kFewestRepetitions, spared));
}

std::string TaskKey(const Scenario& scenario, const Attack& attack, int64_t repetition) {
  return absl::StrCat(scenario.name, "/", attack.name, "/", repetition);
}

std::vector<AuditTask> TasksOf(const Scenario& scenario, int64_t repetition) {
  std::vector<AuditTask> tasks;
  for (const Attack* attack : scenario.attacks) {
    if (!attack->available(scenario.info, scenario.setting).ok()) continue;
    if (repetition >= RepetitionsOf(scenario, *attack)) continue;
    AuditTask task;
    task.key = TaskKey(scenario, *attack, repetition);
    task.cost = Cost(scenario, *attack);
    AttackRun run{attack, scenario.setting, scenario.budgets, scenario.truth, repetition == 0};
    task.run = [run, open = scenario.open, keeps_books = scenario.keeps_books,
                seed = absl::StrCat(scenario.seed, "/", task.key)](
                   const std::atomic<bool>& stop) -> absl::StatusOr<nlohmann::json> {
      if (keeps_books) return RunAttackBudgetByBudget(run, open, seed, stop);
      const std::unique_ptr<GradientSource> source = open(seed);
      return RunAttack(run, *source, seed, stop);
    };
    tasks.push_back(std::move(task));
  }
  return tasks;
}

std::vector<AttackErrors> CollectErrors(const Scenario& scenario, const TaskResults& results) {
  std::vector<AttackErrors> all;
  for (const Attack* attack : scenario.attacks) {
    for (const Refinement refinement : kRefinements) {
      if (!IsRefinable(refinement, *attack, scenario.info)) continue;
      AttackErrors errors{attack, refinement, std::vector<std::vector<double>>(scenario.budgets.size())};
      for (int64_t repetition = 0; repetition < scenario.repetitions; ++repetition) {
        const auto result = results.find(TaskKey(scenario, *attack, repetition));
        if (result == results.end()) continue;
        const nlohmann::json& curve = result->second["errors"][RefinementSuffix(refinement)];
        for (size_t index = 0; index < scenario.budgets.size(); ++index) {
          if (curve[index].is_number()) errors.values[index].push_back(curve[index].get<double>());
        }
      }
      all.push_back(std::move(errors));
    }
  }
  return all;
}

nlohmann::json IntervalJson(const std::optional<ErrorInterval>& interval) {
  if (!interval.has_value()) return nullptr;
  return {interval->lower, interval->upper};
}

nlohmann::json CurveJson(const std::vector<int64_t>& budgets, const std::vector<std::vector<double>>& values,
                         double level) {
  nlohmann::json curve = nlohmann::json::array();
  for (size_t index = 0; index < budgets.size(); ++index) {
    nlohmann::json point = {{"gradients", budgets[index]},
                            {"relative_error", nullptr},
                            {"interval", nullptr},
                            {"repetitions", values[index].size()}};
    if (!values[index].empty()) {
      point["relative_error"] = Median(values[index]);
      point["interval"] = IntervalJson(MedianInterval(values[index], level));
    }
    curve.push_back(std::move(point));
  }
  return curve;
}

}  // namespace gradoracle
