#ifndef GRADORACLE_CLIENT_AUDIT_AUDIT_REPORT_H_
#define GRADORACLE_CLIENT_AUDIT_AUDIT_REPORT_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/audit/scenario.h"
#include "client/audit/task_runner.h"
#include "nlohmann/json.hpp"

// From the tasks' results to the parts of report.json (docs/audit.md).
namespace gradoracle {

inline constexpr const char* kAuditSchema = "gradoracle-audit/1";

// "attacks": every attack with its curve, the refined ones beside it, and why one was not run.
nlohmann::json AttacksJson(const Scenario& scenario, const RunOutcome& outcome, double level);

// The strongest attack at each budget [statistics.h].
struct Strongest {
  nlohmann::json points;                            // "strongest"
  std::vector<std::pair<int64_t, double>> curve;    // gradients, median error; for BudgetKeepingError
  std::optional<std::string> attack, attack_title;  // at the largest budget that has one
  std::string suffix;                               // of its refinement
  std::optional<double> least;                      // over all budgets
  std::string least_title;                          // the attack that reached it
};
Strongest FindStrongest(const Scenario& scenario, const TaskResults& results, double level);

// "spectrum" and "alignment" of the strongest attack, from its first repetition.
nlohmann::json SpectrumJson(const Scenario& scenario, const TaskResults& results, const Strongest& strongest);
nlohmann::json AlignmentJson(const Scenario& scenario, const TaskResults& results, const Strongest& strongest);

// "policy": what is in force. `defence`: also where `info` does not tell it.
nlohmann::json PolicyJson(const OracleInfo& info, const DefencePolicy& defence);

// The sentence a board understands.
// `baseline`: BaselineError, or 1 where it is not known.
std::string Verdict(const Strongest& strongest, const nlohmann::json& findings, double baseline);

// Titles of the attacks that the policy allows but that have no result: the audit ended before them, or they failed
// for another reason than the policy (a budget spent, a connection lost).
std::vector<std::string> UntriedAttacks(const Scenario& scenario, const RunOutcome& outcome);

// "recommended_budget" and "recommendation": none while there are `untried` attacks, or where knowing nothing already
// errs by less than `error`.
void AddRecommendation(const Strongest& strongest, double error, double baseline,
                       const std::vector<std::string>& untried, nlohmann::json& report);

// Error of knowing nothing: of the identity where diag H = 1 is known, else of zero (1).
double BaselineError(const Truth& truth, bool unit_diagonal);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_AUDIT_REPORT_H_
