#ifndef GRADORACLE_CORE_OWN_THREADS_H_
#define GRADORACLE_CORE_OWN_THREADS_H_

#include <chrono>

namespace gradoracle {

// Waits until the calling thread is the only one left in this process; false when `longest` has passed first.
// For the end of a program: gRPC 1.51 detaches threads and tells them to end without waiting, and one that is still
// ending while the process exits uses what OpenSSL has already taken down.
bool AwaitOtherThreads(std::chrono::milliseconds longest);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_OWN_THREADS_H_
