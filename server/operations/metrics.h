#ifndef GRADORACLE_SERVER_OPERATIONS_METRICS_H_
#define GRADORACLE_SERVER_OPERATIONS_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace prometheus {
class Collectable;
}

namespace gradoracle {

// Everything the server counts, as Prometheus knows it. A metric is an output too: nothing here is computed from the
// data, and no label tells principals apart. Thread-safe; cheap enough for every call.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // grpc_server_started_total, grpc_server_handled_total{grpc_code}, grpc_server_handling_seconds.
  // `type`: "unary" or "server_stream"; `code`: "OK", "UNAVAILABLE" ...
  void CallStarted(absl::string_view service, absl::string_view method, absl::string_view type);
  void CallHandled(absl::string_view service, absl::string_view method, absl::string_view type, absl::string_view code,
                   absl::Duration duration);

  // gradoracle_gradients_computed_total.
  void GradientsComputed(int64_t count);
  // gradoracle_gradients_charged_total, gradoracle_ledger_commits_total, gradoracle_ledger_commit_seconds: one
  // transaction of the ledger that charged `gradients`.
  void LedgerCommitted(int64_t gradients, absl::Duration duration);
  // gradoracle_ledger_errors_total.
  void LedgerFailed();
  // gradoracle_connections_accepted_total, gradoracle_connections_refused_total{reason},
  // gradoracle_connections_open.
  void ConnectionAccepted();
  void ConnectionRefused(absl::string_view reason);  // of a short, fixed list
  void ConnectionClosed();
  // Gauges read when somebody scrapes.
  void AddGauge(const std::string& name, const std::string& help, std::function<double()> read);

  std::shared_ptr<prometheus::Collectable> collectable() const;

 private:
  struct Families;
  std::shared_ptr<Families> families_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_METRICS_H_
