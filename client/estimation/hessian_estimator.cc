#include "client/estimation/hessian_estimator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/hessian_form.h"
#include "client/estimation/kappa.h"
#include "client/estimation/split_limit.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kUnknownBlockSize = 64;
constexpr int64_t kLargestBlockSize = 64;
constexpr double kKappaWarning = 0.05;

int64_t BlockSize(int64_t expected_count);
absl::Status CheckOptions(int64_t dimension, const HessianEstimator::Options& options);
std::optional<std::string> BiasWarning(const HessianEstimate& estimate, bool unit_diagonal_known);

}  // namespace

HessianEstimator::HessianEstimator(StreamingCovariance covariance, const Options& options)
    : covariance_(std::move(covariance)), options_(options) {}

absl::StatusOr<HessianEstimator> HessianEstimator::Create(int64_t dimension, const Options& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(dimension, options));
  return HessianEstimator(StreamingCovariance(dimension, BlockSize(options.expected_count)), options);
}

absl::StatusOr<HessianEstimator> HessianEstimator::FromCovariance(StreamingCovariance covariance,
                                                                  const Options& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(covariance.dimension(), options));
  return HessianEstimator(std::move(covariance), options);
}

absl::Status HessianEstimator::Add(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  return covariance_.Add(gradients);
}

absl::Status HessianEstimator::Merge(const HessianEstimator& other) {
  if (other.options_.batch_size != options_.batch_size) {
    return InvalidField("BATCH_SIZE_MISMATCH", "batch_size",
                        absl::StrCat("batch_size: gradients of batches of ", other.options_.batch_size,
                                     " cannot be merged with those of ", options_.batch_size));
  }
  if (other.options_.total_noise_variance != options_.total_noise_variance) {
    return InvalidField("TOTAL_NOISE_VARIANCE_MISMATCH", "total_noise_variance",
                        absl::StrCat("total_noise_variance: gradients with ", other.options_.total_noise_variance,
                                     " cannot be merged with those with ", options_.total_noise_variance));
  }
  return covariance_.Merge(other.covariance_);
}

int64_t HessianEstimator::count() const { return covariance_.count(); }

absl::StatusOr<HessianEstimate> HessianEstimator::Estimate(absl::BitGenRef generator, double level) const {
  if (!(level > 0.5 && level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", level, ", but must be above 0.5 and below 1"));
  }
  const int64_t count = covariance_.count();
  if (count < 2) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count: ", count, " gradients gathered, but a covariance needs at least 2"));
  }
  HessianEstimate estimate;
  estimate.dimension = covariance_.dimension();
  estimate.batch_size = options_.batch_size;
  estimate.gradients = count;
  estimate.total_noise_variance = options_.total_noise_variance;
  estimate.mean_gradient = covariance_.Mean();

  const double scale = static_cast<double>(options_.batch_size) / options_.total_noise_variance;
  Eigen::MatrixXd covariance = covariance_.Scatter() / static_cast<double>(count - 1);
  UnfinishedEstimate unfinished;
  unfinished.hessian = scale * covariance;
  if (!unfinished.hessian.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: entries so large that their products overflow");
  }
  if (count > covariance_.dimension() + 2) {
    estimate.kappa = EstimateKappa(covariance, estimate.mean_gradient, count, options_.batch_size);
  }
  covariance.resize(0, 0);
  const SplitDifferences differences(covariance_);
  if (differences.available()) {
    unfinished.difference = [&](absl::BitGenRef signs, Eigen::MatrixXd& lower) {
      differences.Draw(signs, lower);
      lower *= scale;
    };
  }
  unfinished.count = count;
  unfinished.kurtosis_share = differences.kurtosis_share();
  unfinished.unit_diagonal = options_.unit_diagonal_known && options_.impose_unit_diagonal;
  FinishEstimate(std::move(unfinished), level, generator, estimate);
  estimate.bias_warning = BiasWarning(estimate, options_.unit_diagonal_known);
  return estimate;
}

namespace {

// m / 32 gives 16 pairs. At most 64, so that a stream stopped early has an error bar from 1024 gradients on, whatever
// was expected; dsyrk loses little at 64 rows.
int64_t BlockSize(int64_t expected_count) {
  if (expected_count == 0) return kUnknownBlockSize;
  return std::clamp<int64_t>(expected_count / ScatterGroups::kGroups, 2, kLargestBlockSize);
}

absl::Status CheckOptions(int64_t dimension, const HessianEstimator::Options& options) {
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
  if (options.expected_count < 0) {
    return InvalidField(
        "COUNT_NEGATIVE", "count",
        absl::StrCat("expected count is ", options.expected_count, ", but must be 0 (unknown) or more"));
  }
  return CheckMemory(HessianForm::kDense, dimension, options.expected_count, kDefaultSketchRows);
}

// Two watches. kappa tells of the signal in the gradients for nearly Gaussian features; on real data the excess of the
// diagonal tells more [theory 1.4.8], where the diagonal is known to be one. Its mean over the features has standard
// deviation sqrt(2/(m-1)) ||H||_F / d for Gaussian gradients, its entries H_jj sqrt(2/(m-1)). Warn when the mean is
// more than 0.1, or one entry more than 0.5, off by what 5 such deviations leave (less than one false alarm in 10^6,
// over up to 1000 features less than one in 10^3).
std::optional<std::string> BiasWarning(const HessianEstimate& estimate, bool unit_diagonal_known) {
  if (unit_diagonal_known) {
    const double noise = 5 * std::sqrt(2 / static_cast<double>(estimate.gradients - 1));
    const Eigen::VectorXd& diagonal = estimate.raw_diagonal;
    const double excess = diagonal.mean() - 1;
    const double scale = estimate.unit_diagonal ? diagonal.mean() : 1;  // what imposing the diagonal took out
    const double mean_noise = scale * noise * estimate.hessian.norm() / static_cast<double>(estimate.dimension);
    const double largest = diagonal.maxCoeff();
    if (std::abs(excess) > 0.1 + mean_noise) {
      return absl::StrFormat(
          "the diagonal of the estimate averages %.3g where a standardised oracle's is 1: %s; query nearer the "
          "optimum, "
          "or check the total noise variance",
          1 + excess, excess > 0 ? "the residuals at these weights add to it" : "it is scaled down");
    }
    if (largest * (1 - noise) - 1 > 0.5) {
      return absl::StrFormat(
          "the diagonal of the estimate reaches %.3g where a standardised oracle's is 1: the residuals at these "
          "weights "
          "add to it; query nearer the optimum",
          largest);
    }
  }
  if (estimate.kappa.has_value() && *estimate.kappa > kKappaWarning) {
    return absl::StrFormat(
        "kappa is %.3f, above %.2f: the weights are so far from the optimum that the residuals bias the estimate; "
        "query "
        "nearer the optimum",
        *estimate.kappa, kKappaWarning);
  }
  return std::nullopt;
}

}  // namespace
}  // namespace gradoracle
