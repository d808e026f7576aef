#include "server/operations/metrics.h"

#include <string>

#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/text_serializer.h"

namespace gradoracle {
namespace {

// The lines of an exposition that begin so.
std::string Lines(const Metrics& metrics, const std::string& prefix) {
  const std::string text = prometheus::TextSerializer().Serialize(metrics.collectable()->Collect());
  std::string found;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (text.compare(begin, prefix.size(), prefix) == 0) found += text.substr(begin, end - begin + 1);
    begin = end + 1;
  }
  return found;
}

// Would catch names, labels or units that dashboards and alerts do not know.
TEST(Metrics, CallsAreCountedAsGrpcServersDo) {
  Metrics metrics;
  metrics.CallStarted("service", "Method", "unary");
  metrics.CallStarted("service", "Method", "unary");
  metrics.CallHandled("service", "Method", "unary", "OK", absl::Milliseconds(3));
  EXPECT_EQ(Lines(metrics, "grpc_server_started_total"),
            "grpc_server_started_total{grpc_method=\"Method\",grpc_service=\"service\",grpc_type=\"unary\"} 2\n");
  EXPECT_EQ(Lines(metrics, "grpc_server_handled_total"),
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Method\",grpc_service=\"service\","
            "grpc_type=\"unary\"} 1\n");
  const std::string labels = "grpc_method=\"Method\",grpc_service=\"service\",grpc_type=\"unary\"";
  const std::string bucket = "grpc_server_handling_seconds_bucket{" + labels;
  EXPECT_EQ(Lines(metrics, bucket + ",le=\"0.0025\"}"), bucket + ",le=\"0.0025\"} 0\n");
  EXPECT_EQ(Lines(metrics, bucket + ",le=\"0.005\"}"), bucket + ",le=\"0.005\"} 1\n");
  EXPECT_EQ(Lines(metrics, "grpc_server_handling_seconds_sum"),
            "grpc_server_handling_seconds_sum{" + labels + "} 0.003\n");
}

// Would catch gradients counted as commits, commits as errors, and connections that are never counted out.
TEST(Metrics, LedgerAndConnectionsAreCounted) {
  Metrics metrics;
  metrics.LedgerCommitted(7, absl::Milliseconds(2));
  metrics.LedgerCommitted(5, absl::Milliseconds(2));
  metrics.LedgerFailed();
  metrics.GradientsComputed(9);
  metrics.ConnectionAccepted();
  metrics.ConnectionAccepted();
  metrics.ConnectionClosed();
  metrics.ConnectionRefused("address");
  double free = 100;
  metrics.AddGauge("free_bytes", "Room.", [&] { return free; });
  EXPECT_EQ(Lines(metrics, "gradoracle_gradients_charged_total"), "gradoracle_gradients_charged_total 12\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_gradients_computed_total"), "gradoracle_gradients_computed_total 9\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_ledger_commits_total"), "gradoracle_ledger_commits_total 2\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_ledger_errors_total"), "gradoracle_ledger_errors_total 1\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_ledger_commit_seconds_count"), "gradoracle_ledger_commit_seconds_count 2\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_connections_accepted_total"), "gradoracle_connections_accepted_total 2\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_connections_open"), "gradoracle_connections_open 1\n");
  EXPECT_EQ(Lines(metrics, "gradoracle_connections_refused_total"),
            "gradoracle_connections_refused_total{reason=\"address\"} 1\n");
  EXPECT_EQ(Lines(metrics, "free_bytes"), "free_bytes 100\n");
  free = 50;  // read when somebody looks, not when it was added
  EXPECT_EQ(Lines(metrics, "free_bytes"), "free_bytes 50\n");
}

}  // namespace
}  // namespace gradoracle
