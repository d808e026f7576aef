#include "client/audit/miscalibration.h"

#include <algorithm>
#include <cmath>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/sampling.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr double kLimit = 7;
constexpr int64_t kFewest = 100;
constexpr double kRankTolerance = 1e-9;

// W (k, d) with W'W = the pseudo-inverse of `covariance`.
Eigen::MatrixXd Whitening(const Eigen::MatrixXd& covariance) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(covariance);
  const Eigen::VectorXd& values = eigen.eigenvalues();
  const double least = kRankTolerance * values.tail(1)[0];
  Eigen::Index rank = 0;
  while (rank < values.size() && values[values.size() - 1 - rank] > least) ++rank;
  return values.tail(rank).cwiseSqrt().cwiseInverse().asDiagonal() * eigen.eigenvectors().rightCols(rank).transpose();
}

// Variance factor of the rows' part of a single gradient about its mean: 1 with replacement, else (N - n)/(N - 1).
double SingleGradientFactor(Sampling sampling, int64_t row_count, int64_t batch_size) {
  if (sampling == Sampling::kIid || row_count < 2) return 1;
  return static_cast<double>(row_count - batch_size) / static_cast<double>(row_count - 1);
}

}  // namespace

bool NoiseScale::miscalibrated() const { return std::abs(deviations) > kLimit; }

Eigen::MatrixXd RowGradientCovariance(const RegressionData& data, const Eigen::VectorXd& weights) {
  const Eigen::VectorXd residuals = data.features * weights - data.targets;
  const double rows = static_cast<double>(data.row_count());
  const Eigen::VectorXd mean = data.features.transpose() * residuals / rows;
  const Eigen::MatrixXd second =
      data.features.transpose() * residuals.array().square().matrix().asDiagonal() * data.features / rows;
  return second - mean * mean.transpose();
}

absl::StatusOr<NoiseScale> MeasureNoiseScale(GradientSource& source, const RegressionData& data,
                                             const Eigen::MatrixXd& hessian, double residual_variance,
                                             int64_t batch_size, int64_t count) {
  if (count < kFewest) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count is ", count, ", but telling the noise's scale needs at least ", kFewest));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  const Eigen::VectorXd weights = Eigen::VectorXd::Zero(data.dimension());
  const double n = static_cast<double>(batch_size);
  const double calibrated =
      n - residual_variance * SamplingVarianceFactor(info.sampling, data.row_count(), batch_size,
                                                     std::min(count, info.limits.max_count));  // of one request
  const Eigen::MatrixXd rows_part =
      SingleGradientFactor(info.sampling, data.row_count(), batch_size) * RowGradientCovariance(data, weights);
  const Eigen::MatrixXd whitening = Whitening((calibrated * hessian + rows_part) / n);
  // E z = rank at v = calibrated; a unit of v adds `slope`.
  const double slope = (whitening * hessian).cwiseProduct(whitening).sum() / n;
  const double rank = static_cast<double>(whitening.rows());
  const Eigen::RowVectorXd mean =
      -(data.features.transpose() * data.targets).transpose() / static_cast<double>(data.row_count());

  double sum = 0, squares = 0;
  int64_t seen = 0;
  GradientQuery query;
  query.weights = weights;
  query.batch_size = batch_size;
  query.count = count;
  GRADORACLE_RETURN_IF_ERROR(source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    const Eigen::ArrayXd z = ((block.rowwise() - mean) * whitening.transpose()).rowwise().squaredNorm().array() - rank;
    sum += z.sum();
    squares += z.square().sum();
    seen += block.rows();
    return absl::OkStatus();
  }));
  const double m = static_cast<double>(seen);
  const double excess = sum / m;
  const double deviation = std::sqrt(std::max(squares / m - excess * excess, 0.0) / m);

  NoiseScale scale;
  scale.gradients = seen;
  scale.total_over_batch_size = 1 + excess / slope / n;
  scale.standard_error = deviation / slope / n;
  scale.deviations = deviation > 0 ? excess / deviation : 0;
  return scale;
}

}  // namespace gradoracle
