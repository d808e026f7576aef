#include "core/gradient_engine.h"

#include <cassert>
#include <cmath>
#include <utility>

#include "core/defence/clipped_gradient.h"
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

// To the nearest multiple of `grid`, a power of two: exact but for the rounding itself. What is too large to have a
// fraction on the grid stays as it is.
void RoundTo(double grid, Eigen::Ref<Eigen::RowVectorXd> gradient) {
  gradient = (gradient.array() * (1 / grid)).rint() * grid + 0.0;  // + 0: no sign of a zero
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
      batch_size_(query.batch_size),
      noise_deviation_(noise_deviation),
      isotropic_deviation_(std::sqrt(IsotropicNoiseVariance(engine->options().defence, query.batch_size))),
      random_(std::move(random)),
      sampler_(engine->options().sampling, engine->data().row_count(), query.batch_size),
      rows_(static_cast<size_t>(query.batch_size)) {
  if (noise_deviation_ > 0) {
    words_.resize(rows_.size());
    noise_.resize(rows_.size());
  }
  if (isotropic_deviation_ > 0) {
    isotropic_words_.resize(static_cast<size_t>(query.weights.size()));
    isotropic_noise_.resize(isotropic_words_.size());
  }
}

// xi of gradient `index`, into noise_.
void GradientStream::DrawTargetNoise(int64_t index) {
  if (noise_.empty()) return;
  random_.Fill(RandomPurpose::kNoise, static_cast<uint64_t>(index), absl::MakeSpan(words_));
  StandardNormalFromWords(words_, absl::MakeSpan(noise_));
  for (double& xi : noise_) xi *= noise_deviation_;
}

void GradientStream::AddIsotropicNoise(int64_t index, Eigen::Ref<Eigen::RowVectorXd> gradient) {
  if (isotropic_noise_.empty()) return;
  random_.Fill(RandomPurpose::kIsotropic, static_cast<uint64_t>(index), absl::MakeSpan(isotropic_words_));
  StandardNormalFromWords(isotropic_words_, absl::MakeSpan(isotropic_noise_));
  gradient += isotropic_deviation_ * Eigen::Map<const Eigen::RowVectorXd>(isotropic_noise_.data(), gradient.size());
}

void GradientStream::Compute(int64_t first, Eigen::Ref<RowMajorMatrix> out) {
  const RegressionData& data = engine_->data();
  assert(0 <= first && first + out.rows() <= count_ && out.cols() == data.dimension());

  GradientKernelArguments arguments{};
  arguments.features = data.features.data();
  arguments.targets = curvature_probe_ ? nullptr : data.targets.data();
  arguments.weights = weights_.data();
  arguments.dimension = static_cast<size_t>(data.dimension());
  arguments.noise = noise_.empty() ? nullptr : noise_.data();
  const std::optional<double>& clip_norm = engine_->options().defence.clip_norm;
  for (Eigen::Index k = 0; k < out.rows(); ++k) {
    const int64_t index = first + k;
    sampler_.DrawBatch(random_, index, rows_);
    if (clip_norm.has_value()) {
      ClippedGradientSum(data, weights_, rows_, *clip_norm, out.row(k));
      out.row(k) /= static_cast<double>(batch_size_);
    } else {
      DrawTargetNoise(index);
      arguments.rows = rows_.data();
      arguments.batch_size = rows_.size();
      arguments.gradient = out.row(k).data();
      MinibatchGradient(arguments);
    }
    AddIsotropicNoise(index, out.row(k));
    if (engine_->options().grid > 0) RoundTo(engine_->options().grid, out.row(k));
  }
}

}  // namespace gradoracle
