// Many callers at once, for tests/bench/end_to_end/protection.py:
//   callers_bench unary --oracle HOST:PORT --callers k --batch-size n --count m [--tls-ca FILE] [--token-file FILE]
// k callers with a connection each ask for m gradients in all at w = 0, one unary call after the other. seconds: wall
// time from the first call to the last answer.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/oracle_client.h"
#include "tests/bench/end_to_end/worker.h"

namespace gradoracle {
namespace {

class CallersBench {
 public:
  explicit CallersBench(const Arguments& arguments)
      : batch_size_(arguments.Number("batch-size")), count_(arguments.Number("count")) {
    for (int64_t i = arguments.Number("callers"); i > 0; --i) {
      auto client = OracleClient::Create(arguments.Text("oracle"), ClientOptions(arguments));
      Check(client.status());
      auto info = (*client)->Info();
      Check(info.status());
      dimension_ = info->dimension;
      clients_.push_back(std::move(*client));
    }
  }

  std::string Run() {
    std::atomic<int64_t> asked{0};
    const Stopwatch stopwatch;
    std::vector<std::thread> threads;
    threads.reserve(clients_.size());
    for (const auto& client : clients_) {
      threads.emplace_back([this, &asked, caller = client.get()] {
        const GradientQuery query = QueryAtZero(dimension_, batch_size_, 1);
        while (asked++ < count_) Check(caller->Gradient(query).status());
      });
    }
    for (std::thread& thread : threads) thread.join();
    return "{\"seconds\": " + std::to_string(stopwatch.Seconds()) + "}";
  }

 private:
  int64_t batch_size_;
  int64_t count_;
  int64_t dimension_ = 0;
  std::vector<std::unique_ptr<OracleClient>> clients_;
};

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  const gradoracle::Arguments arguments = gradoracle::ParseArguments(argc, argv);
  if (arguments.mode != "unary") gradoracle::Fail("no such mode: " + arguments.mode);
  gradoracle::CallersBench bench(arguments);
  gradoracle::Serve([&bench] { return bench.Run(); });
  return 0;
}
