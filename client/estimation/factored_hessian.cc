#include "client/estimation/factored_hessian.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/estimation/split_limit.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int kSignDraws = 24;

absl::Status CheckOptions(int64_t dimension, const FactoredHessianEstimator::Options& options);
HessianEstimate::RelativeErrorLimit ErrorLimit(const ScatterFactor& factor, int64_t batch_size, double level);

}  // namespace

FactoredHessianEstimator::FactoredHessianEstimator(Scatter scatter, const Options& options)
    : scatter_(std::move(scatter)), options_(options) {}

absl::StatusOr<FactoredHessianEstimator> FactoredHessianEstimator::Create(int64_t dimension, const Options& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(dimension, options));
  GRADORACLE_RETURN_IF_ERROR(CheckMemory(options.form, dimension, options.expected_count, options.sketch_rows));
  if (options.form == HessianForm::kRowSpace) {
    return FactoredHessianEstimator(RowSpace(dimension, options.expected_count), options);
  }
  return FactoredHessianEstimator(ScatterSketch(dimension, options.sketch_rows, options.expected_count), options);
}

absl::Status FactoredHessianEstimator::Add(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  return std::visit([&](auto& scatter) { return scatter.Add(gradients); }, scatter_);
}

int64_t FactoredHessianEstimator::count() const {
  return std::visit([](const auto& scatter) { return scatter.count(); }, scatter_);
}

absl::StatusOr<HessianEstimate> FactoredHessianEstimator::TakeEstimate(absl::BitGenRef generator, double level) {
  if (!(level > 0.5 && level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", level, ", but must be above 0.5 and below 1"));
  }
  if (count() < 2) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count: ", count(), " gradients gathered, but a covariance needs at least 2"));
  }
  RowSpace* const row_space = std::get_if<RowSpace>(&scatter_);
  ScatterFactor factor = row_space != nullptr ? row_space->TakeFactor(generator, kSignDraws)
                                              : std::get<ScatterSketch>(scatter_).Factor(generator, kSignDraws);
  const double scale =
      static_cast<double>(options_.batch_size) / options_.total_noise_variance / static_cast<double>(factor.count - 1);
  HessianEstimate estimate;
  estimate.form = options_.form;
  estimate.dimension = factor.mean.size();
  estimate.batch_size = options_.batch_size;
  estimate.gradients = factor.count;
  estimate.total_noise_variance = options_.total_noise_variance;
  estimate.mean_gradient = factor.mean;
  estimate.eigenvalues = scale * factor.rows.rowwise().squaredNorm();
  estimate.trace = scale * factor.trace;
  const double norm = estimate.eigenvalues.size() > 0 ? estimate.eigenvalues(0) : 0;
  estimate.effective_rank = norm > 0 ? estimate.trace / norm : 0;
  estimate.relative_error = ErrorLimit(factor, options_.batch_size, level);
  estimate.left_out = scale * factor.deficit;
  estimate.factor = std::move(factor.rows);
  estimate.factor *= std::sqrt(scale);
  if (!estimate.factor.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: entries so large that their products overflow");
  }
  return estimate;
}

namespace {

absl::Status CheckOptions(int64_t dimension, const FactoredHessianEstimator::Options& options) {
  if (dimension < 1) {
    return InvalidField("DIMENSION_NOT_POSITIVE", "dimension",
                        absl::StrCat("dimension is ", dimension, ", but must be at least 1"));
  }
  if (options.batch_size < 1) {
    return InvalidField("BATCH_SIZE_NOT_POSITIVE", "batch_size",
                        absl::StrCat("batch_size is ", options.batch_size, ", but must be at least 1"));
  }
  if (!std::isfinite(options.total_noise_variance) || options.total_noise_variance <= 0) {
    return InvalidField(
        "TOTAL_NOISE_VARIANCE_NOT_POSITIVE", "total_noise_variance",
        absl::StrCat("total_noise_variance is ", options.total_noise_variance, ", but must be finite and positive"));
  }
  if (options.form == HessianForm::kDense) {
    return InvalidField("FORM_NOT_FACTORED", "form", "form is dense, but a factor has form row_space or sketch");
  }
  const bool row_space = options.form == HessianForm::kRowSpace;
  if (options.expected_count < 0 || (row_space && options.expected_count == 0)) {
    return InvalidField("COUNT_NOT_POSITIVE", "count",
                        absl::StrCat("expected count is ", options.expected_count, ", but must be ",
                                     row_space ? "at least 1: row_space keeps them all" : "0 (unknown) or more"));
  }
  if (options.sketch_rows < 1 || options.sketch_rows > (int64_t{1} << 20)) {
    return InvalidField("SKETCH_ROWS_OUT_OF_RANGE", "sketch_rows",
                        absl::StrCat("sketch_rows is ", options.sketch_rows, ", but must be from 1 to 1048576"));
  }
  return absl::OkStatus();
}

// In units of the scatter over m - 1. Relative: the common scale cancels.
HessianEstimate::RelativeErrorLimit ErrorLimit(const ScatterFactor& factor, int64_t batch_size, double level) {
  HessianEstimate::RelativeErrorLimit result;
  result.level = level;
  const double degrees = static_cast<double>(factor.count - 1);
  const double norm = factor.rows.rows() > 0 ? factor.rows.row(0).squaredNorm() / degrees : 0;
  if (factor.split_norms.size() < 2 || !(norm > 0)) return result;
  const double effective_rank = factor.trace / degrees / norm;
  const double left_out = factor.deficit / degrees;
  const SplitShape shape{effective_rank, static_cast<double>(factor.count), batch_size, factor.kurtosis_share};
  const SplitLimit limit = CombineSplitNorms(factor.split_norms, shape, level);
  result.estimate = (limit.mean + left_out) / norm;
  // Every split norm may be larger by split_deficit: the limit then is, times the skew that CombineSplitNorms applies.
  std::vector<double> largest_norms = factor.split_norms;
  for (double& split_norm : largest_norms) split_norm += factor.split_deficit;
  const double upper = CombineSplitNorms(largest_norms, shape, level).upper + left_out;
  if (upper < norm) result.upper = upper / (norm - upper);
  return result;
}

}  // namespace
}  // namespace gradoracle
