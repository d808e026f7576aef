// One contender of tests/bench/end_to_end/run.py, which starts it, sends "run" lines and reads a line of JSON for each:
//   end_to_end_bench engine --data FILE --batch-size n --count m     one thread computing: no wire, no client
//   end_to_end_bench stream --oracle HOST:PORT --streams k --batch-size n --count m     k clients, with covariance
//     [--tls-ca FILE] [--token-file FILE]
// seconds: wall time of m gradients at w = 0; stream: from the request to the finished (d, d) covariance.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/estimation/blas.h"
#include "client/estimation/hessian_estimator.h"
#include "client/estimation/streaming_covariance.h"
#include "client/oracle_client.h"
#include "core/local_oracle.h"
#include "tests/bench/end_to_end/worker.h"

namespace gradoracle {
namespace {

void ServeEngine(const Arguments& arguments) {
  OracleOptions options;
  options.data_path = arguments.Text("data");
  auto oracle = LocalOracle::Create(options);
  Check(oracle.status());
  const int64_t dimension = (*oracle)->info().dimension;
  const GradientQuery query = QueryAtZero(dimension, arguments.Number("batch-size"), arguments.Number("count"));
  // As many gradients at a time as a chunk of the wire holds (256 KiB).
  const int64_t block_rows = std::max<int64_t>(1, (int64_t{256} << 10) / (8 * dimension));
  RowMajorMatrix block(block_rows, dimension);
  std::random_device entropy;
  Serve([&] {
    RequestKey key;
    for (uint8_t& byte : key) byte = static_cast<uint8_t>(entropy());
    const Stopwatch stopwatch;
    auto stream = (*oracle)->engine().Start(query, key);
    Check(stream.status());
    for (int64_t first = 0; first < query.count; first += block_rows) {
      const int64_t rows = std::min(block_rows, query.count - first);
      stream->Compute(first, block.topRows(rows));
    }
    return "{\"seconds\": " + std::to_string(stopwatch.Seconds()) + "}";
  });
}

class StreamBench {
 public:
  explicit StreamBench(const Arguments& arguments)
      : batch_size_(arguments.Number("batch-size")), count_(arguments.Number("count")) {
    const int64_t streams = arguments.Number("streams");
    if (count_ % streams != 0) Fail("--count must be a multiple of --streams");
    for (int64_t i = 0; i < streams; ++i) {
      auto client = OracleClient::Create(arguments.Text("oracle"), ClientOptions(arguments));
      Check(client.status());
      clients_.push_back(std::move(*client));
      auto info = clients_.back()->Info();
      Check(info.status());
      dimension_ = info->dimension;
    }
    SetBlasThreads(dimension_);
    estimate_seconds_ = MeasureEstimate();
  }

  std::string Run() {
    const int64_t share = count_ / static_cast<int64_t>(clients_.size());
    // The estimator's own choice of block for a known count.
    const int64_t block_size = std::clamp<int64_t>(count_ / 32, 2, 512);
    const Stopwatch stopwatch;
    std::vector<StreamingCovariance> covariances(clients_.size(), StreamingCovariance(dimension_, block_size));
    std::vector<std::thread> threads;
    for (size_t i = 1; i < clients_.size(); ++i) {
      threads.emplace_back([this, share, i, &covariances] { Gather(share, *clients_[i], covariances[i]); });
    }
    Gather(share, *clients_[0], covariances[0]);
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 1; i < covariances.size(); ++i) Check(covariances[0].Merge(covariances[i]));
    const Eigen::MatrixXd covariance = covariances[0].Scatter() / static_cast<double>(count_ - 1);
    const double seconds = stopwatch.Seconds();
    return "{\"seconds\": " + std::to_string(seconds) + ", \"trace\": " + std::to_string(covariance.trace()) +
           ", \"estimate_seconds\": " + std::to_string(estimate_seconds_) + "}";
  }

 private:
  void Gather(int64_t count, OracleClient& client, StreamingCovariance& covariance) const {
    Check(client.Gradients(
        QueryAtZero(dimension_, batch_size_, count),
        [&covariance](const Eigen::Ref<const RowMajorMatrix>& block) { return covariance.Add(block); }));
  }

  // Seconds of HessianEstimator::Estimate (spectrum, error bar), which a user pays once, not for each gradient.
  double MeasureEstimate() {
    HessianEstimator::Options options;
    options.batch_size = batch_size_;
    options.total_noise_variance = static_cast<double>(batch_size_);
    options.expected_count = count_;
    auto estimator = HessianEstimator::Create(dimension_, options);
    Check(estimator.status());
    Check(clients_[0]->Gradients(
        QueryAtZero(dimension_, batch_size_, count_),
        [&estimator](const Eigen::Ref<const RowMajorMatrix>& block) { return estimator->Add(block); }));
    std::mt19937_64 generator(1);
    const Stopwatch stopwatch;
    Check(estimator->Estimate(generator, 0.95).status());
    return stopwatch.Seconds();
  }

  int64_t batch_size_;
  int64_t count_;
  int64_t dimension_ = 0;
  double estimate_seconds_ = 0;
  std::vector<std::unique_ptr<OracleClient>> clients_;
};

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  const gradoracle::Arguments arguments = gradoracle::ParseArguments(argc, argv);
  if (arguments.mode == "engine") {
    gradoracle::ServeEngine(arguments);
  } else if (arguments.mode == "stream") {
    gradoracle::StreamBench bench(arguments);
    gradoracle::Serve([&bench] { return bench.Run(); });
  } else {
    gradoracle::Fail("no such mode: " + arguments.mode);
  }
  return 0;
}
