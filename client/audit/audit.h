#ifndef GRADORACLE_CLIENT_AUDIT_AUDIT_H_
#define GRADORACLE_CLIENT_AUDIT_AUDIT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/audit/task_runner.h"
#include "core/gradient_source.h"
#include "core/local_oracle.h"
#include "nlohmann/json.hpp"

// What can somebody learn of the data's curvature from an oracle, after how many gradients? Every attack, against the
// owner's truth; the strongest at each budget first. The report is that of docs/audit.md.
namespace gradoracle {

struct AuditOptions {
  int64_t batch_size = 256;        // n of attacks that have no better choice
  int64_t budget = 10'000;         // the most gradients of one attack, >= 10
  int64_t repetitions = 20;        // of each attack, >= 1; intervals need 6
  uint64_t seed = 1;               // of a simulation, oracle included, and of what attackers draw
  double recommended_error = 0.5;  // the recommended budget keeps the strongest attack's error above this; in (0, 1]
  // tau^2 of recorded gradients, and of a remote oracle whose rule does not tell it.
  std::optional<double> total_noise_variance;
  double level = 0.95;  // of the intervals
  // Width of the public range that every target lies in, in served units: without it no label epsilon.
  std::optional<double> label_width;
  double privacy_delta = 1e-5;  // of every epsilon, in (0, 1)
  // --curvature-floor of the policy: the simulated oracle answers no caller beyond the accountant's count for it.
  std::optional<double> curvature_floor;
  int threads = 2;  // of a simulation
  absl::Duration longest = absl::InfiniteDuration();
  std::string state_path;  // empty: nothing is kept
  const std::atomic<bool>* interrupted = nullptr;
  std::function<void(const TaskProgress&)> progress;
};

struct AuditOutcome {
  nlohmann::json report;  // without "created", "command" and "reproduce"
  bool interrupted = false;
  bool complete = true;
  std::optional<double> strongest_error;  // least median relative error within the budget
  // Attacks that the policy allows and that have no result: not reached, or failed. Whether an error was kept above a
  // limit is not decided while there are any.
  std::vector<std::string> untried;
};

// Against an oracle made here of the data and the policy: the owner's way. Errors: those of LocalOracle and RunTasks;
// kInvalidArgument (batch_size outside the policy's limits, budget, repetitions, label_width, privacy_delta); those of
// CurvatureAccountant::LargestCount, and kFailedPrecondition CURVATURE_FLOOR_INVALID where it leaves no gradient.
absl::StatusOr<AuditOutcome> AuditSimulation(const OracleOptions& policy, const AuditOptions& options);
// The same with data in memory.
absl::StatusOr<AuditOutcome> AuditData(const RegressionData& data, const OracleOptions& policy,
                                       const AuditOptions& options);
// Against a running oracle. `data`: the owner's, for the truth, or null. Attacks that the oracle refuses, a budget
// included, are told as not available.
absl::StatusOr<AuditOutcome> AuditOracle(GradientSource& source, const OracleOptions* data,
                                         const AuditOptions& options);
// From gradients recorded at one point: what watching alone tells. options.total_noise_variance must be given.
absl::StatusOr<AuditOutcome> AuditRecording(const std::string& path, const OracleOptions* data,
                                            const AuditOptions& options);

// 10, 32, 100, 316, ... and `budget` itself: half decades, rounded.
std::vector<int64_t> Checkpoints(int64_t budget);

// Largest m at which a curve of errors (falling, on log-log axes straight between its points) stays at or above
// `error`; the last budget when it never falls below, nullopt when it starts below.
std::optional<int64_t> BudgetKeepingError(const std::vector<std::pair<int64_t, double>>& curve, double error);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_AUDIT_H_
