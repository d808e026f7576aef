#ifndef GRADORACLE_SERVER_OPERATIONS_SIGNALS_H_
#define GRADORACLE_SERVER_OPERATIONS_SIGNALS_H_

namespace gradoracle {

// SIGTERM, SIGINT (stop) and SIGHUP (read the configuration again) as events instead of handlers: blocked in every
// thread, one thread waits for them. Works as process 1 of a container too, where the default action of a signal is to
// be ignored.

// Blocks them in the calling thread and those it will start. Call before any thread exists.
void BlockSignals();

// Starts the thread that waits. Until ExpectSignals a signal to stop ends the process at once, exit code 0: nothing has
// been served yet; SIGHUP does nothing: what is being read is fresh. Call once.
void WatchSignals();

// From now on signals are for AwaitSignal; a second one to stop ends the process at once, exit code 1.
void ExpectSignals();

enum class Signal { kReload, kTerminate, kInterrupt };
const char* SignalName(Signal signal);  // "SIGHUP", "SIGTERM", "SIGINT"

// Blocks until a signal has come that was not returned yet; several of SIGHUP count as one, and one to stop goes first.
Signal AwaitSignal();

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_SIGNALS_H_
