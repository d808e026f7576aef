#include "core/gradient_engine.h"

#include <cassert>
#include <cmath>
#include <utility>

#include "core/gradient_kernel.h"
#include "core/normal.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Variance of xi for `query`: n for the curvature probe (theory 1.4.7), else what brings the total to the query's own
// wish or to the rule, after the residuals' part f sigma^2 (theory 1.4.5).
absl::StatusOr<double> VarianceToInject(const GradientQuery& query, int64_t row_count,
                                        const GradientEngine::Options& options) {
  if (query.curvature_probe) return static_cast<double>(query.batch_size);
  const double factor = SamplingVarianceFactor(options.sampling, row_count, query.batch_size, query.count);
  if (query.total_noise_variance.has_value()) {
    return InjectedVarianceForTotal(*query.total_noise_variance, options.residual_variance, factor);
  }
  return InjectedVariance(options.noise, query.batch_size, options.residual_variance, factor);
}

}  // namespace

GradientEngine::GradientEngine(const RegressionData* data, const Options& options) : data_(data), options_(options) {
  assert(data->row_count() >= 1 && data->row_count() < int64_t{1} << 32 && data->dimension() >= 1);
}

absl::StatusOr<GradientStream> GradientEngine::Start(const GradientQuery& query, const RequestKey& key) const {
  assert(query.weights.size() == data_->dimension());
  GRADORACLE_ASSIGN_OR_RETURN(const double variance, VarianceToInject(query, data_->row_count(), options_));
  return GradientStream(this, query, std::sqrt(variance), RandomStream(key));
}

GradientStream::GradientStream(const GradientEngine* engine, const GradientQuery& query, double noise_deviation,
                               RandomStream random)
    : engine_(engine),
      weights_(query.weights),
      count_(query.count),
      curvature_probe_(query.curvature_probe),
      noise_deviation_(noise_deviation),
      random_(std::move(random)),
      sampler_(engine->options().sampling, engine->data().row_count(), query.batch_size),
      rows_(static_cast<size_t>(query.batch_size)) {
  if (noise_deviation_ > 0) {
    words_.resize(rows_.size());
    noise_.resize(rows_.size());
  }
}

void GradientStream::Compute(int64_t first, Eigen::Ref<RowMajorMatrix> out) {
  const RegressionData& data = engine_->data();
  assert(0 <= first && first + out.rows() <= count_ && out.cols() == data.dimension());

  GradientKernelArguments arguments{};
  arguments.features = data.features.data();
  arguments.targets = curvature_probe_ ? nullptr : data.targets.data();
  arguments.weights = weights_.data();
  arguments.dimension = static_cast<size_t>(data.dimension());
  arguments.rows = rows_.data();
  arguments.noise = noise_.empty() ? nullptr : noise_.data();
  arguments.batch_size = rows_.size();
  for (Eigen::Index k = 0; k < out.rows(); ++k) {
    const int64_t index = first + k;
    sampler_.Draw(random_, index, absl::MakeSpan(rows_));
    if (!noise_.empty()) {
      random_.Fill(RandomPurpose::kNoise, static_cast<uint64_t>(index), absl::MakeSpan(words_));
      StandardNormalFromWords(words_, absl::MakeSpan(noise_));
      for (double& xi : noise_) xi *= noise_deviation_;
    }
    arguments.gradient = out.row(k).data();
    MinibatchGradient(arguments);
  }
}

}  // namespace gradoracle
