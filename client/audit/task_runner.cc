#include "client/audit/task_runner.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr absl::Duration kSaveEvery = absl::Seconds(2);
constexpr absl::Duration kLookEvery = absl::Milliseconds(250);
constexpr const char* kStateSchema = "gradoracle-audit-state/1";

absl::StatusOr<TaskResults> LoadResults(const std::string& path, const std::string& fingerprint) {
  TaskResults results;
  std::ifstream file(path);
  if (path.empty() || !file) return results;
  const nlohmann::json state = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object() || state.value("schema", "") != kStateSchema || !state.contains("results") ||
      !state["results"].is_object()) {
    return InvalidField("AUDIT_STATE_INVALID", "out",
                        absl::StrCat(path, ": not the state of an audit; remove it, or give another --out"));
  }
  if (state.value("fingerprint", "") != fingerprint) return results;  // of another audit: begun anew
  for (const auto& [key, value] : state["results"].items()) results[key] = value;
  return results;
}

absl::Status SaveResults(const RunOptions& options, const TaskResults& results) {
  if (options.state_path.empty()) return absl::OkStatus();
  const nlohmann::json state = {{"schema", kStateSchema}, {"fingerprint", options.fingerprint}, {"results", results}};
  return WriteFileAtomically(options.state_path, state.dump(), "AUDIT_STATE_UNWRITABLE");
}

// The threads' shared list. (std::mutex: see core/compute_pool.h.)
class Work {
 public:
  Work(const std::vector<AuditTask>& tasks, RunOutcome& outcome) : outcome_(outcome) {
    for (const AuditTask& task : tasks) {
      total_cost_ += task.cost;
      if (outcome.results.contains(task.key)) {
        done_cost_ += task.cost;
      } else {
        waiting_.push_back(&task);
      }
    }
    start_cost_ = done_cost_;
  }

  void Serve() {
    while (const AuditTask* task = Next()) {
      absl::StatusOr<nlohmann::json> result = task->run(stop_);
      Finish(*task, std::move(result));
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    ++ended_threads_;
    changed_.notify_all();
  }

  // Waits until all threads have ended or `longest` is over; true when ended.
  bool Wait(int threads, absl::Duration longest) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoMilliseconds(longest), [&] { return ended_threads_ == threads; });
  }

  void Stop() { stop_.store(true); }

  TaskResults Results() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return outcome_.results;
  }

  TaskProgress Progress(size_t total, absl::Duration elapsed) {
    const std::lock_guard<std::mutex> lock(mutex_);
    TaskProgress progress;
    progress.done = outcome_.results.size() + outcome_.failures.size();
    progress.total = total;
    progress.share = total_cost_ > 0 ? done_cost_ / total_cost_ : 1;
    if (done_cost_ > start_cost_) {
      progress.left = elapsed * ((total_cost_ - done_cost_) / (done_cost_ - start_cost_));
    }
    return progress;
  }

 private:
  const AuditTask* Next() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_.load() || next_ == waiting_.size()) return nullptr;
    return waiting_[next_++];
  }

  void Finish(const AuditTask& task, absl::StatusOr<nlohmann::json> result) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (result.ok()) {
      outcome_.results[task.key] = *std::move(result);
    } else if (absl::IsCancelled(result.status()) && stop_.load()) {
      return;
    } else {
      outcome_.failures[task.key] = result.status();
    }
    done_cost_ += task.cost;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stop_{false};
  RunOutcome& outcome_;                    // guarded by mutex_
  std::vector<const AuditTask*> waiting_;  // set once
  size_t next_ = 0;                        // guarded by mutex_
  int ended_threads_ = 0;                  // guarded by mutex_
  double total_cost_ = 0;                  // set once
  double start_cost_ = 0;                  // set once
  double done_cost_ = 0;                   // guarded by mutex_
};

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, const std::string& text, const std::string& reason) {
  const std::string temporary = absl::StrCat(path, ".tmp", getpid());
  int error = 0;
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) error = errno;
  for (size_t written = 0; error == 0 && written < text.size();) {
    const ssize_t size = write(descriptor, text.data() + written, text.size() - written);
    if (size >= 0) written += static_cast<size_t>(size);
    if (size < 0 && errno != EINTR) error = errno;
  }
  if (error == 0 && fsync(descriptor) != 0) error = errno;
  if (descriptor >= 0 && close(descriptor) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  std::remove(temporary.c_str());
  return InvalidField(reason, "out", absl::StrCat(path, ": cannot be written: ", std::strerror(error)));
}

absl::StatusOr<RunOutcome> RunTasks(const std::vector<AuditTask>& tasks, const RunOptions& options) {
  RunOutcome outcome;
  GRADORACLE_ASSIGN_OR_RETURN(TaskResults found, LoadResults(options.state_path, options.fingerprint));
  for (const AuditTask& task : tasks) {
    const auto result = found.find(task.key);
    if (result != found.end()) outcome.results.insert(*result);
  }
  outcome.resumed = outcome.results.size();
  GRADORACLE_RETURN_IF_ERROR(SaveResults(options, outcome.results));  // whether it can be written, before any work

  Work work(tasks, outcome);
  std::vector<std::thread> threads;
  for (int k = 0; k < options.threads; ++k) threads.emplace_back([&work] { work.Serve(); });
  const absl::Time start = absl::Now();
  absl::Time saved = start;
  absl::Status saving;
  while (!work.Wait(options.threads, kLookEvery)) {
    const absl::Time now = absl::Now();
    if (options.interrupted != nullptr && options.interrupted->load()) outcome.interrupted = true;
    if (outcome.interrupted || now >= options.deadline || !saving.ok()) work.Stop();
    if (options.progress) options.progress(work.Progress(tasks.size(), now - start));
    if (now - saved >= kSaveEvery) {
      saving = SaveResults(options, work.Results());
      saved = now;
    }
  }
  for (std::thread& thread : threads) thread.join();
  GRADORACLE_RETURN_IF_ERROR(saving);
  GRADORACLE_RETURN_IF_ERROR(SaveResults(options, outcome.results));
  outcome.complete = outcome.results.size() + outcome.failures.size() == tasks.size();
  if (outcome.complete) outcome.interrupted = false;
  return outcome;
}

}  // namespace gradoracle
