#ifndef GRADORACLE_SERVER_OPERATIONS_PROCESS_METRICS_H_
#define GRADORACLE_SERVER_OPERATIONS_PROCESS_METRICS_H_

#include <memory>

namespace prometheus {
class Collectable;
}

namespace gradoracle {

// The process_* metrics every Prometheus client library gives: CPU seconds, resident and virtual memory, open and
// most file descriptors, start time, threads; read from /proc/self when somebody scrapes.
std::shared_ptr<prometheus::Collectable> ProcessMetrics();

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_PROCESS_METRICS_H_
