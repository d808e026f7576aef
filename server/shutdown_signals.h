#ifndef GRADORACLE_SERVER_SHUTDOWN_SIGNALS_H_
#define GRADORACLE_SERVER_SHUTDOWN_SIGNALS_H_

namespace gradoracle {

// SIGTERM and SIGINT as events instead of handlers: blocked in every thread, one thread waits for them. Works as
// process 1 of a container too, where the default action of a signal is to be ignored.

// Blocks both in the calling thread and those it will start. Call before any thread exists.
void BlockShutdownSignals();

// Starts the thread that waits. Until ExpectShutdown a signal ends the process at once, exit code 0: nothing has been
// served yet. Call once.
void WatchShutdownSignals();

// From now on the first signal is for AwaitShutdown; a second one ends the process at once, exit code 1.
void ExpectShutdown();

// Blocks until the first signal; returns its name, "SIGTERM" or "SIGINT".
const char* AwaitShutdown();

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SHUTDOWN_SIGNALS_H_
