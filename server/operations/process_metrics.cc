#include "server/operations/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace gradoracle {
namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Field `number` of /proc/self/stat, counted from 1 as in proc(5); the second may hold blanks and is left out.
double StatField(const std::vector<absl::string_view>& fields_from_third, size_t number) {
  double value = 0;
  if (number - 3 < fields_from_third.size()) static_cast<void>(absl::SimpleAtod(fields_from_third[number - 3], &value));
  return value;
}

double BootTime() {
  const std::string stat = ReadFile("/proc/stat");
  for (absl::string_view line : absl::StrSplit(stat, '\n')) {
    double seconds = 0;
    if (absl::ConsumePrefix(&line, "btime ") && absl::SimpleAtod(line, &seconds)) return seconds;
  }
  return 0;
}

double OpenDescriptors() {
  std::error_code error;
  double count = 0;
  for (auto entry = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    ++count;
  }
  return count - 1;  // the folder itself is open while it is read
}

double MostDescriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

prometheus::MetricFamily Gauge(const std::string& name, const std::string& help, double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  return {name, help, prometheus::MetricType::Gauge, {metric}};
}

prometheus::MetricFamily Counter(const std::string& name, const std::string& help, double value) {
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  return {name, help, prometheus::MetricType::Counter, {metric}};
}

class ProcessCollectable final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::string stat = ReadFile("/proc/self/stat");
    const size_t name_end = stat.rfind(')');
    const std::vector<absl::string_view> fields = absl::StrSplit(
        absl::string_view(stat).substr(name_end == std::string::npos ? 0 : name_end + 1), ' ', absl::SkipEmpty());
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    return {
        Counter("process_cpu_seconds_total", "User and system CPU time.",
                (StatField(fields, 14) + StatField(fields, 15)) / ticks),
        Gauge("process_resident_memory_bytes", "Resident memory.", StatField(fields, 24) * page),
        Gauge("process_virtual_memory_bytes", "Virtual memory.", StatField(fields, 23)),
        Gauge("process_threads", "Threads.", StatField(fields, 20)),
        Gauge("process_start_time_seconds", "Start, in seconds since 1970.",
              BootTime() + StatField(fields, 22) / ticks),
        Gauge("process_open_fds", "Open file descriptors.", OpenDescriptors()),
        Gauge("process_max_fds", "Most file descriptors.", MostDescriptors()),
    };
  }
};

}  // namespace

std::shared_ptr<prometheus::Collectable> ProcessMetrics() { return std::make_shared<ProcessCollectable>(); }

}  // namespace gradoracle
