#ifndef GRADORACLE_CLIENT_AUDIT_TASK_RUNNER_H_
#define GRADORACLE_CLIENT_AUDIT_TASK_RUNNER_H_

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

// An audit is a list of small tasks whose results depend on nothing but their own key: so they may run on any thread,
// in any order, today or after an interruption, and give the same numbers.
namespace gradoracle {

struct AuditTask {
  std::string key;  // unique, e.g. "policy/covariance/3"
  double cost = 1;  // relative, for the time left
  // `stop` is set when the task should give up, with kCancelled.
  std::function<absl::StatusOr<nlohmann::json>(const std::atomic<bool>& stop)> run;
};

using TaskResults = std::map<std::string, nlohmann::json>;

struct TaskProgress {
  size_t done = 0;
  size_t total = 0;
  double share = 0;  // of the cost
  std::optional<absl::Duration> left;
};

struct RunOptions {
  int threads = 1;
  absl::Time deadline = absl::InfiniteFuture();  // then what runs is stopped, and nothing more started
  const std::atomic<bool>* interrupted = nullptr;
  std::string state_path;   // results are kept here, and found again; empty: nowhere
  std::string fingerprint;  // of everything the results depend on; a state of another is not used
  std::function<void(const TaskProgress&)> progress;  // about four times a second
};

struct RunOutcome {
  TaskResults results;
  std::map<std::string, absl::Status> failures;  // tasks that failed for reasons of their own
  size_t resumed = 0;                            // results that were found in the state
  bool interrupted = false;
  bool complete = false;  // every task has a result or a failure
};

// Errors: kInvalidArgument AUDIT_STATE_INVALID (the file is no state), AUDIT_STATE_UNWRITABLE.
absl::StatusOr<RunOutcome> RunTasks(const std::vector<AuditTask>& tasks, const RunOptions& options);

// Writes `text` to a temporary name in the same folder, flushes and renames. Errors: kInvalidArgument `reason`.
absl::Status WriteFileAtomically(const std::string& path, const std::string& text, const std::string& reason);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_TASK_RUNNER_H_
