#ifndef GRADORACLE_CORE_OWN_THREADS_H_
#define GRADORACLE_CORE_OWN_THREADS_H_

#include <chrono>

namespace gradoracle {

// The threads of this process, 1 where the kernel does not say. Not 1 at the beginning of main where a library has
// started some (OpenBLAS).
int CountThreads();

// Waits until there are at most `count` threads in this process; false when `longest` has passed first.
// For the end of a program: gRPC 1.51 detaches threads and tells them to end without waiting, and one that is still
// ending while the process exits uses what OpenSSL has already taken down.
bool AwaitThreads(int count, std::chrono::milliseconds longest);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_OWN_THREADS_H_
