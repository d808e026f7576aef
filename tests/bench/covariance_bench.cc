// Prints the speed of StreamingCovariance (error bar's groups included) as a share of one dsyrk over all gradients at
// once, the fastest a covariance can be; above 1 because its calls stay in cache. Interleaved repeats, medians of
// ratios.
#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

#include "client/estimation/blas.h"
#include "client/estimation/streaming_covariance.h"

namespace gradoracle {
namespace {

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Gradients of standard deviation 1 about `mean`. "arriving": each chunk has just been written to one reused buffer, as
// after decoding a message; "recorded": all m lie in memory, as for the one-shot product.
void Run(int64_t dimension, int64_t count, double mean, int repeats) {
  std::mt19937_64 generator(1);
  std::normal_distribution<double> normal(mean, 1);
  RowMajorMatrix gradients(count, dimension);
  for (double& entry : gradients.reshaped()) entry = normal(generator);
  const int64_t chunk = std::max<int64_t>(1, (256 * 1024) / (8 * dimension));
  StreamingCovariance covariance(dimension, std::clamp<int64_t>(count / 32, 2, 512));
  Eigen::MatrixXd product = Eigen::MatrixXd::Zero(dimension, dimension);
  RowMajorMatrix arrived(chunk, dimension);

  const auto one_shot = [&] {
    return Seconds([&] {
      cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, dimension, count, 1, gradients.data(), dimension, 0,
                  product.data(), dimension);
    });
  };
  const auto streamed = [&](bool arriving) {
    double seconds = 0;
    for (int64_t begin = 0; begin < count; begin += chunk) {
      const int64_t rows = std::min(chunk, count - begin);
      if (arriving) arrived.topRows(rows) = gradients.middleRows(begin, rows);
      seconds += Seconds([&] {
        if (!covariance.Add(arriving ? arrived.topRows(rows) : gradients.middleRows(begin, rows)).ok()) std::abort();
      });
    }
    return seconds;
  };
  std::vector<double> one_shot_times, arriving_ratios, recorded_ratios;
  one_shot();
  streamed(true);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    one_shot_times.push_back(one_shot());
    arriving_ratios.push_back(one_shot_times.back() / streamed(/*arriving=*/true));
    recorded_ratios.push_back(one_shot_times.back() / streamed(/*arriving=*/false));
  }
  std::printf(
      "d %5ld  m %6ld  mean %4.0f deviations  one-shot dsyrk %8.1f ns a gradient  ratio arriving %.2f recorded %.2f\n",
      dimension, count, mean, Median(one_shot_times) * 1e9 / static_cast<double>(count), Median(arriving_ratios),
      Median(recorded_ratios));
}

}  // namespace
}  // namespace gradoracle

int main() {
  for (const double mean : {0.0, 100.0}) {
    gradoracle::Run(31, 16384, mean, 41);
    gradoracle::Run(100, 16384, mean, 21);
    gradoracle::Run(1000, 8192, mean, 9);
  }
}
