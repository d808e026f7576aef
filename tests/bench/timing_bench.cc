// Does the time of a gradient tell what is in the data? Two data sets of one shape, asked in random order (dudect:
// Welch's t over the times below a common quantile; |t| < 4.5 is the field's threshold for "no difference seen"). A
// figure, not a test: a machine's neighbours may push any timing around.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "core/compute_pool.h"
#include "core/gradient_engine.h"

namespace gradoracle {
namespace {

constexpr int64_t kRows = 2000;
constexpr int64_t kDimension = 50;
constexpr int64_t kBatchSize = 64;
constexpr int kCalls = 20'000;  // of both together, half each
constexpr double kQuantile = 0.9;

using Fill = std::function<double(std::mt19937_64&)>;

RegressionData MakeData(const Fill& fill) {
  std::mt19937_64 generator(5);
  RegressionData data;
  data.features = RowMajorMatrix::NullaryExpr(kRows, kDimension, [&] { return fill(generator); });
  data.targets = Eigen::VectorXd::NullaryExpr(kRows, [&] { return fill(generator); });
  return data;
}

// Nanoseconds of one gradient in a pool thread, as the server computes it.
double TimeOne(ComputePool& pool, const GradientEngine& engine, const GradientQuery& query, uint64_t call) {
  std::mutex mutex;
  std::condition_variable done;
  double nanoseconds = -1;
  pool.Schedule([&] {
    RequestKey key{};
    std::copy_n(reinterpret_cast<const uint8_t*>(&call), sizeof call, key.begin());
    RowMajorMatrix out(1, kDimension);
    const auto begin = std::chrono::steady_clock::now();
    engine.Start(query, key)->Compute(0, out);
    const auto end = std::chrono::steady_clock::now();
    const std::lock_guard<std::mutex> lock(mutex);
    nanoseconds = std::chrono::duration<double, std::nano>(end - begin).count();
    done.notify_all();
  });
  std::unique_lock<std::mutex> lock(mutex);
  done.wait(lock, [&] { return nanoseconds >= 0; });
  return nanoseconds;
}

struct Moments {
  double mean;
  double variance;
  double count;
};

Moments MomentsBelow(const std::vector<double>& times, double limit) {
  Moments moments{0, 0, 0};
  for (const double t : times) {
    if (t <= limit) moments.mean += t, ++moments.count;
  }
  moments.mean /= moments.count;
  for (const double t : times) {
    if (t <= limit) moments.variance += (t - moments.mean) * (t - moments.mean) / (moments.count - 1);
  }
  return moments;
}

void Compare(const std::string& name, const RegressionData& plain, const RegressionData& other) {
  const GradientEngine first(&plain, {Sampling::kIid, NoisePolicy(), 0.5, 0x1p-20});
  const GradientEngine second(&other, {Sampling::kIid, NoisePolicy(), 0.5, 0x1p-20});
  GradientQuery query;
  query.weights = Eigen::VectorXd::Constant(kDimension, 0.1);
  query.batch_size = kBatchSize;
  query.count = 1;
  ComputePool pool(1);
  std::mt19937_64 generator(9);
  std::vector<double> times[2];
  for (uint64_t call = 0; call < kCalls + 100; ++call) {
    const size_t which = generator() & 1;
    const double time = TimeOne(pool, which == 0 ? first : second, query, call);
    if (call >= 100) times[which].push_back(time);
  }
  std::vector<double> all = times[0];
  all.insert(all.end(), times[1].begin(), times[1].end());
  const auto cut = all.begin() + static_cast<std::ptrdiff_t>(kQuantile * static_cast<double>(all.size()));
  std::nth_element(all.begin(), cut, all.end());
  const Moments a = MomentsBelow(times[0], *cut);
  const Moments b = MomentsBelow(times[1], *cut);
  const double t = (b.mean - a.mean) / std::sqrt(a.variance / a.count + b.variance / b.count);
  std::printf("%-44s %8.0f ns %8.0f ns   ratio %.3f   t %+6.2f   %s\n", name.c_str(), a.mean, b.mean, b.mean / a.mean,
              t, std::abs(t) < 4.5 ? "no difference seen" : "DIFFERENT");
}

int Run() {
  std::normal_distribution<double> normal;
  const Fill gaussian = [&](std::mt19937_64& g) { return normal(g); };
  const RegressionData plain = MakeData(gaussian);
  std::printf("time of one gradient, n = %d, d = %d; Gaussian rows against\n", int{kBatchSize}, int{kDimension});
  Compare("other Gaussian rows (nothing to see)", plain, MakeData([&](std::mt19937_64& g) { return -normal(g); }));
  Compare("rows of zeros and ones", plain, MakeData([&](std::mt19937_64& g) { return g() % 16 == 0 ? 1.0 : 0.0; }));
  Compare("rows of 1e150", plain, MakeData([&](std::mt19937_64& g) { return 1e150 * normal(g); }));
  Compare("rows of subnormal numbers", plain,
          MakeData([&](std::mt19937_64& g) { return std::numeric_limits<double>::min() * 0.25 * normal(g); }));
  return 0;
}

}  // namespace
}  // namespace gradoracle

int main() { return gradoracle::Run(); }
