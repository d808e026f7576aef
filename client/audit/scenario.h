#ifndef GRADORACLE_CLIENT_AUDIT_SCENARIO_H_
#define GRADORACLE_CLIENT_AUDIT_SCENARIO_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/audit/attack.h"
#include "client/audit/attack_task.h"
#include "client/audit/statistics.h"
#include "client/audit/task_runner.h"
#include "core/gradient_source.h"

namespace gradoracle {

// One oracle under attack: the policy as it is, or a variant of it to compare with.
struct Scenario {
  std::string name;  // first part of the tasks' keys
  OracleInfo info;   // what attackers are told
  // A source whose random numbers follow from `seed` where it is a simulation.
  std::function<std::unique_ptr<GradientSource>(const std::string& seed)> open;
  AttackSetting setting;
  std::vector<int64_t> budgets;  // ascending
  std::vector<const Attack*> attacks;
  int64_t repetitions = 1;
  const Truth* truth = nullptr;  // null: unknown
  uint64_t seed = 1;
  bool keeps_books = false;  // sources refuse what goes beyond --max-participation: a fresh one for each budget
};

// How often an attack is repeated: attacks that need many more rows than others are repeated less often, but 6 times
// (an interval needs that) if the others are.
int64_t RepetitionsOf(const Scenario& scenario, const Attack& attack);

// "policy/covariance/3".
std::string TaskKey(const Scenario& scenario, const Attack& attack, int64_t repetition);

// The tasks of repetition `repetition`, those of available attacks only.
std::vector<AuditTask> TasksOf(const Scenario& scenario, int64_t repetition);

// What came of one attack, refined one way, over the repetitions: values[budget] holds one error a repetition.
struct AttackErrors {
  const Attack* attack = nullptr;
  Refinement refinement = Refinement::kNone;
  std::vector<std::vector<double>> values;

  std::string name() const { return attack->name + RefinementSuffix(refinement); }
};
std::vector<AttackErrors> CollectErrors(const Scenario& scenario, const TaskResults& results);

// [{"gradients", "relative_error", "interval", "repetitions"}], nulls where nothing is known.
nlohmann::json CurveJson(const std::vector<int64_t>& budgets, const std::vector<std::vector<double>>& values,
                         double level);

nlohmann::json IntervalJson(const std::optional<ErrorInterval>& interval);  // [lower, upper] or null

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_SCENARIO_H_
