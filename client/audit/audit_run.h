#ifndef GRADORACLE_CLIENT_AUDIT_AUDIT_RUN_H_
#define GRADORACLE_CLIENT_AUDIT_AUDIT_RUN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/audit/attack.h"
#include "client/audit/audit.h"
#include "client/audit/audit_report.h"
#include "client/audit/scenario.h"
#include "client/audit/task_runner.h"
#include "core/accountant/curvature_accountant.h"
#include "core/defence/defence_policy.h"
#include "core/local_oracle.h"
#include "core/oracle_info.h"
#include "nlohmann/json.hpp"

// What the three ways to audit (audit.h) have in common: the run, from options to tasks, and the parts of the report.
namespace gradoracle {

inline constexpr int64_t kScaleGradients = 20'000;  // of the finding miscalibration

// Every field of AuditOptions within its range. Errors: kInvalidArgument AUDIT_BUDGET, AUDIT_REPETITIONS, AUDIT_ERROR,
// AUDIT_LEVEL, AUDIT_NOISE_VARIANCE, PRIVACY_PARAMETER; kOutOfRange AUDIT_BATCH_SIZE.
absl::Status CheckAuditOptions(const AuditOptions& options);
// Errors: kOutOfRange AUDIT_BATCH_SIZE, naming the limits.
absl::Status CheckBatchSize(int64_t batch_size, const QueryLimits& limits);

// Every attack on the curvature, in the order of the report.
std::vector<const Attack*> AllAttacks();

// A generator of what attackers draw: its state is the SHA-256 of `seed`.
std::mt19937_64 GeneratorFor(const std::string& seed);

// Everything numbers depend on; neither the repetitions nor the time, so that a later run can add to an earlier one.
std::string Fingerprint(const std::string& mode, const Scenario& scenario, const DefencePolicy& defence,
                        const AuditOptions& options);

// First everything once, the findings too, then the repetitions in the order of what each attack has cost by then: an
// audit that is cut short has something of everything, and most of what is cheap.
std::vector<AuditTask> OrderTasks(const std::vector<Scenario>& scenarios, std::vector<AuditTask> findings);

// How tasks are run; `fingerprint`: whose results may be gone on with. The time limit starts here.
RunOptions RunOptionsOf(const AuditOptions& options, int threads, const std::string& fingerprint);

using OpenSource = std::function<std::unique_ptr<GradientSource>(const std::string& seed)>;

// The findings that need one oracle only. `count` limits what each asks for.
std::vector<AuditTask> OneOracleFindings(const OpenSource& open, const OracleInfo& info, int64_t batch_size,
                                         int64_t count, uint64_t seed, const RegressionData* rows,
                                         const LeastSquaresFit* fit);

// The findings' results, with why one is missing.
nlohmann::json FindingsJson(const RunOutcome& outcome);

// What every mode's report has. `findings` are complete.
nlohmann::json CommonReport(const std::string& mode, const Scenario& policy, const DefencePolicy& defence,
                            const AuditOptions& options, const RunOutcome& outcome, const LeastSquaresFit* fit,
                            nlohmann::json findings, const Strongest& strongest);

// "accountant", and how what was measured lies to it.
void AddAccountant(const Scenario& policy, const DefencePolicy& defence, const CurvatureProfile& profile,
                   nlohmann::json& report);

// What the caller of an audit gets of a finished report.
AuditOutcome Conclude(nlohmann::json report, const Scenario& policy, const RunOutcome& outcome,
                      const Strongest& strongest);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_AUDIT_RUN_H_
