#include "server/operations/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "server/operations/log.h"

namespace gradoracle {
namespace {

struct State {
  std::mutex mutex;
  std::condition_variable arrived;
  bool expected = false;  // guarded by mutex
  bool reload = false;    // guarded by mutex
  int stop = 0;           // the signal, guarded by mutex
};

// Never destroyed: the waiting thread lives as long as the process.
State& TheState() {
  static State& state = *new State;
  return state;
}

sigset_t Watched() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

void WaitForever() {
  const sigset_t signals = Watched();
  State& state = TheState();
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (signal == SIGHUP) {
      state.reload = state.expected;
    } else if (!state.expected) {
      Log(LogLevel::kInfo, "told to stop before serving; exiting");
      _exit(0);
    } else if (state.stop != 0) {
      Log(LogLevel::kWarning, "told to stop again; exiting at once, calls in flight are lost");
      _exit(1);
    } else {
      state.stop = signal;
    }
    state.arrived.notify_all();
  }
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = Watched();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void WatchSignals() { std::thread(WaitForever).detach(); }

void ExpectSignals() {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.expected = true;
}

const char* SignalName(Signal signal) {
  switch (signal) {
    case Signal::kReload:
      return "SIGHUP";
    case Signal::kTerminate:
      return "SIGTERM";
    case Signal::kInterrupt:
      return "SIGINT";
  }
  return "";
}

Signal AwaitSignal() {
  State& state = TheState();
  std::unique_lock<std::mutex> lock(state.mutex);
  state.arrived.wait(lock, [&] { return state.reload || state.stop != 0; });
  if (state.stop != 0) return state.stop == SIGTERM ? Signal::kTerminate : Signal::kInterrupt;
  state.reload = false;
  return Signal::kReload;
}

}  // namespace gradoracle
