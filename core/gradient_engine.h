#ifndef GRADORACLE_CORE_GRADIENT_ENGINE_H_
#define GRADORACLE_CORE_GRADIENT_ENGINE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "core/defence/defence_policy.h"
#include "core/gradient_source.h"
#include "core/noise_calibration.h"
#include "core/random_stream.h"
#include "core/regression_data.h"
#include "core/sampling.h"

namespace gradoracle {

class GradientEngine;

// One request being answered: the query's weights, its calibrated noise, its random stream and its scratch memory. The
// gradients of a request are a fixed sequence g_0 ... g_{m-1}; any range can be computed, in any order, as often as
// wanted, and always has the same bits. Not thread-safe; the engine must outlive it.
class GradientStream {
 public:
  // Computes gradients [first, first + out.rows()) into the rows of `out`, shape (k, d).
  // Requires 0 <= first, first + k <= count.
  void Compute(int64_t first, Eigen::Ref<RowMajorMatrix> out);

  int64_t count() const { return count_; }
  double injected_variance() const { return noise_deviation_ * noise_deviation_; }

 private:
  friend class GradientEngine;
  GradientStream(const GradientEngine* engine, const GradientQuery& query, double noise_deviation, RandomStream random);
  void DrawTargetNoise(int64_t index);
  void AddIsotropicNoise(int64_t index, Eigen::Ref<Eigen::RowVectorXd> gradient);

  const GradientEngine* engine_;
  Eigen::VectorXd weights_;
  int64_t count_;
  bool curvature_probe_;
  int64_t batch_size_;
  double noise_deviation_;
  double isotropic_deviation_;
  RandomStream random_;
  RowSampler sampler_;
  std::vector<uint32_t> rows_;
  std::vector<uint64_t> words_;
  std::vector<double> noise_;
  std::vector<uint64_t> isotropic_words_;
  std::vector<double> isotropic_noise_;
};

// Draw rows, calibrate, draw noise, kernel, add isotropic noise, round. Thread-safe (const); holds no state of
// requests.
class GradientEngine {
 public:
  struct Options {
    Sampling sampling = Sampling::kIid;
    NoisePolicy noise;
    double residual_variance = 0;  // sigma^2 of the data in served units
    double grid = 0;               // replies are multiples of it (core/reply_grid.h): a power of two, or 0 for none
    DefencePolicy defence = {};    // of which the engine does clipping and isotropic noise
  };
  // `data` must outlive the engine; N < 2^32.
  GradientEngine(const RegressionData* data, const Options& options);

  // Prepares the answer to a query that has passed ValidateQuery. Errors: those of InjectedVariance.
  absl::StatusOr<GradientStream> Start(const GradientQuery& query, const RequestKey& key) const;

  const RegressionData& data() const { return *data_; }
  const Options& options() const { return options_; }

 private:
  const RegressionData* data_;
  Options options_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_GRADIENT_ENGINE_H_
