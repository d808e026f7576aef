#include "server/shutdown_signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "server/log.h"

namespace gradoracle {
namespace {

struct State {
  std::mutex mutex;
  std::condition_variable arrived;
  bool expected = false;  // guarded by mutex
  int first_signal = 0;   // guarded by mutex
};

// Never destroyed: the waiting thread lives as long as the process.
State& TheState() {
  static State& state = *new State;
  return state;
}

sigset_t ShutdownSignalSet() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

void WaitForever() {
  const sigset_t signals = ShutdownSignalSet();
  State& state = TheState();
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (!state.expected) {
      Log(LogLevel::kInfo, "told to stop before serving; exiting");
      _exit(0);
    }
    if (state.first_signal != 0) {
      Log(LogLevel::kWarning, "told to stop again; exiting at once, calls in flight are lost");
      _exit(1);
    }
    state.first_signal = signal;
    state.arrived.notify_all();
  }
}

}  // namespace

void BlockShutdownSignals() {
  const sigset_t signals = ShutdownSignalSet();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void WatchShutdownSignals() { std::thread(WaitForever).detach(); }

void ExpectShutdown() {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.expected = true;
}

const char* AwaitShutdown() {
  State& state = TheState();
  std::unique_lock<std::mutex> lock(state.mutex);
  state.arrived.wait(lock, [&] { return state.first_signal != 0; });
  return state.first_signal == SIGTERM ? "SIGTERM" : "SIGINT";
}

}  // namespace gradoracle
