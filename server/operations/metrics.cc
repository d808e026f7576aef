#include "server/operations/metrics.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace gradoracle {
namespace {

using Labels = std::map<std::string, std::string>;

// Seconds; from a cached answer to the longest stream.
const prometheus::Histogram::BucketBoundaries kCallSeconds = {.0005, .001, .0025, .005, .01, .025, .05, .1,
                                                              .25,   .5,   1,     2.5,  5,   10,   60,  600};
const prometheus::Histogram::BucketBoundaries kCommitSeconds = {.0001, .00025, .0005, .001, .0025, .005,
                                                                .01,   .025,   .05,   .1,   .5,    1};

Labels MethodLabels(absl::string_view service, absl::string_view method, absl::string_view type) {
  return {
      {"grpc_service", std::string(service)}, {"grpc_method", std::string(method)}, {"grpc_type", std::string(type)}};
}

prometheus::Family<prometheus::Counter>& AddCounter(prometheus::Registry& registry, const std::string& name,
                                                    const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

struct Metrics::Families final : prometheus::Collectable {
  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> collected = registry.Collect();
    const std::lock_guard<std::mutex> lock(mutex);
    for (const ReadGauge& gauge : gauges) {
      prometheus::ClientMetric metric;
      metric.gauge.value = gauge.read();
      collected.push_back({gauge.name, gauge.help, prometheus::MetricType::Gauge, {std::move(metric)}});
    }
    return collected;
  }

  struct ReadGauge {
    std::string name;
    std::string help;
    std::function<double()> read;
  };

  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& started = AddCounter(registry, "grpc_server_started_total", "Calls begun.");
  prometheus::Family<prometheus::Counter>& handled =
      AddCounter(registry, "grpc_server_handled_total", "Calls ended, by status code.");
  prometheus::Family<prometheus::Histogram>& handling = prometheus::BuildHistogram()
                                                            .Name("grpc_server_handling_seconds")
                                                            .Help("Time from a call's begin to its status.")
                                                            .Register(registry);
  prometheus::Counter& computed =
      AddCounter(registry, "gradoracle_gradients_computed_total", "Gradients computed, sent or not.").Add({});
  prometheus::Counter& charged =
      AddCounter(registry, "gradoracle_gradients_charged_total", "Gradients charged to the ledger by this process.")
          .Add({});
  prometheus::Counter& commits =
      AddCounter(registry, "gradoracle_ledger_commits_total", "Transactions of the ledger.").Add({});
  prometheus::Counter& ledger_errors =
      AddCounter(registry, "gradoracle_ledger_errors_total", "Transactions of the ledger that failed.").Add({});
  prometheus::Histogram& commit_seconds = prometheus::BuildHistogram()
                                              .Name("gradoracle_ledger_commit_seconds")
                                              .Help("Time of one transaction of the ledger, its sync included.")
                                              .Register(registry)
                                              .Add({}, kCommitSeconds);
  prometheus::Counter& accepted =
      AddCounter(registry, "gradoracle_connections_accepted_total", "Connections handed to gRPC.").Add({});
  prometheus::Family<prometheus::Counter>& refused =
      AddCounter(registry, "gradoracle_connections_refused_total", "Connections closed by the server, by reason.");
  prometheus::Gauge& open = prometheus::BuildGauge()
                                .Name("gradoracle_connections_open")
                                .Help("Connections open now.")
                                .Register(registry)
                                .Add({});
  mutable std::mutex mutex;
  std::vector<ReadGauge> gauges;  // guarded by mutex
};

Metrics::Metrics() : families_(std::make_shared<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::CallStarted(absl::string_view service, absl::string_view method, absl::string_view type) {
  families_->started.Add(MethodLabels(service, method, type)).Increment();
}

void Metrics::CallHandled(absl::string_view service, absl::string_view method, absl::string_view type,
                          absl::string_view code, absl::Duration duration) {
  Labels labels = MethodLabels(service, method, type);
  families_->handling.Add(labels, kCallSeconds).Observe(absl::ToDoubleSeconds(duration));
  labels.emplace("grpc_code", std::string(code));
  families_->handled.Add(labels).Increment();
}

void Metrics::GradientsComputed(int64_t count) { families_->computed.Increment(static_cast<double>(count)); }

void Metrics::LedgerCommitted(int64_t gradients, absl::Duration duration) {
  families_->commits.Increment();
  families_->charged.Increment(static_cast<double>(gradients));
  families_->commit_seconds.Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::LedgerFailed() { families_->ledger_errors.Increment(); }

void Metrics::ConnectionAccepted() {
  families_->accepted.Increment();
  families_->open.Increment();
}

void Metrics::ConnectionRefused(absl::string_view reason) {
  families_->refused.Add({{"reason", std::string(reason)}}).Increment();
}

void Metrics::ConnectionClosed() { families_->open.Decrement(); }

void Metrics::AddGauge(const std::string& name, const std::string& help, std::function<double()> read) {
  const std::lock_guard<std::mutex> lock(families_->mutex);
  families_->gauges.push_back({name, help, std::move(read)});
}

std::shared_ptr<prometheus::Collectable> Metrics::collectable() const { return families_; }

}  // namespace gradoracle
