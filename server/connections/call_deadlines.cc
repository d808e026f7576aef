#include "server/connections/call_deadlines.h"

#include <pthread.h>

#include <utility>
#include <vector>

namespace gradoracle {

CallDeadlines::CallDeadlines(absl::Duration limit)
    : limit_(absl::ToChronoNanoseconds(limit)), thread_([this] { Run(); }) {}

CallDeadlines::~CallDeadlines() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

uint64_t CallDeadlines::Add(std::function<void()> cancel) {
  const std::lock_guard<std::mutex> lock(mutex_);
  calls_[next_].cancel = std::move(cancel);
  return next_++;
}

void CallDeadlines::Start(uint64_t call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = calls_.find(call);
  if (found != calls_.end()) found->second.since = Clock::now();
}

void CallDeadlines::Stop(uint64_t call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = calls_.find(call);
  if (found != calls_.end()) found->second.since.reset();
}

void CallDeadlines::Remove(uint64_t call) {
  std::unique_lock<std::mutex> lock(mutex_);
  // The thread that cancels may be told of the end of the call before `cancel` returns: it must not wait for itself.
  if (std::this_thread::get_id() != thread_.get_id()) {
    changed_.wait(lock, [&] {
      const auto found = calls_.find(call);
      return found == calls_.end() || !found->second.cancelling;
    });
  }
  calls_.erase(call);
}

void CallDeadlines::Run() {
  pthread_setname_np(pthread_self(), "call-deadlines");
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, limit_ / 8, [this] { return stop_; })) {
    const Clock::time_point now = Clock::now();
    std::vector<uint64_t> overdue;
    for (const auto& [id, call] : calls_) {
      if (call.since.has_value() && now - *call.since > limit_) overdue.push_back(id);
    }
    for (const uint64_t id : overdue) {
      const auto found = calls_.find(id);  // others may have ended meanwhile
      if (found == calls_.end() || !found->second.since.has_value()) continue;
      found->second.cancelling = true;
      const std::function<void()> cancel = std::exchange(found->second.cancel, nullptr);
      found->second.since.reset();
      lock.unlock();
      if (cancel != nullptr) cancel();
      lock.lock();
      const auto left = calls_.find(id);
      if (left != calls_.end()) left->second.cancelling = false;
      changed_.notify_all();
    }
  }
}

}  // namespace gradoracle
