#include "client/estimation/warm_up.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "Eigen/Cholesky"
#include "Eigen/QR"
#include "client/estimation/shrinkage.h"

namespace gradoracle {
namespace {

constexpr int64_t kFewestPoints = 8;
constexpr int64_t kLastPoints = 4;
constexpr double kMeanExcess = 0.02;
constexpr double kLargestExcess = 0.6;
constexpr double kRidge = 1e-10;
constexpr double kLeastIntensity = 1e-4;

Eigen::VectorXd Variances(const RowMajorMatrix& gradients) {
  const Eigen::RowVectorXd mean = gradients.colwise().mean();
  return (gradients.rowwise() - mean).colwise().squaredNorm().transpose() / static_cast<double>(gradients.rows() - 1);
}

}  // namespace

WarmUpPath::WarmUpPath(int64_t dimension, int64_t batch_size, double total_noise_variance)
    : variance_scale_(static_cast<double>(batch_size) / total_noise_variance),
      scatter_(Eigen::MatrixXd::Zero(dimension, dimension)) {}

void WarmUpPath::Add(const Eigen::VectorXd& weights, const RowMajorMatrix& gradients) {
  const double count = static_cast<double>(gradients.rows());
  const Eigen::VectorXd mean = gradients.colwise().mean().transpose();
  RowMajorMatrix centred = gradients.rowwise() - mean.transpose();
  const Eigen::VectorXd variances = Variances(gradients);
  const double spread = std::max(variances.mean(), std::numeric_limits<double>::min());
  weights_.push_back(weights);
  means_.push_back(mean);
  variances_.push_back(variances);
  // Rows of unit mean variance, weighted by 1 / spread.
  centred *= std::sqrt(count / (count - 1)) / spread;
  scatter_.noalias() += centred.transpose() * centred;
  weight_ += count / spread;
  rows_.push_back(std::move(centred));
}

WarmUpPath::Excess WarmUpPath::ExcessOf(const RowMajorMatrix& gradients) const {
  const Eigen::ArrayXd excess = variance_scale_ * Variances(gradients).array() - 1;
  return {excess.mean(), excess.maxCoeff()};
}

bool WarmUpPath::Converged() const {
  if (points() < kFewestPoints) return false;
  Eigen::VectorXd variances = Eigen::VectorXd::Zero(scatter_.rows());
  for (int64_t back = 1; back <= kLastPoints; ++back)
    variances += variances_[variances_.size() - static_cast<size_t>(back)];
  const Eigen::ArrayXd excess = variances.array() * (variance_scale_ / static_cast<double>(kLastPoints)) - 1;
  return excess.mean() < kMeanExcess && excess.maxCoeff() < kLargestExcess;
}

Eigen::MatrixXd WarmUpPath::Preconditioner() const {
  Eigen::MatrixXd covariance = scatter_ / weight_;
  // A feature that none of the gradients has shown yet is not blown up without bound.
  Eigen::VectorXd diagonal = covariance.diagonal();
  Eigen::VectorXd sorted = diagonal;
  std::nth_element(sorted.data(), sorted.data() + sorted.size() / 2, sorted.data() + sorted.size());
  const double floor = std::max(1e-3 * sorted(sorted.size() / 2), std::numeric_limits<double>::min());
  const Eigen::VectorXd scale = diagonal.array().max(floor).sqrt().inverse().matrix();
  covariance = scale.asDiagonal() * covariance * scale.asDiagonal();

  int64_t rows = 0;
  double fourth = 0;
  for (const RowMajorMatrix& block : rows_) {
    fourth += (block * scale.asDiagonal()).rowwise().squaredNorm().squaredNorm();
    rows += block.rows();
  }
  // The rows' outer products sum to weight_ * covariance, not to their number times it.
  const double unit = static_cast<double>(rows) / weight_;
  const double intensity = LedoitWolfIntensity(static_cast<double>(rows) / static_cast<double>(rows - 1) * covariance,
                                               rows, fourth * unit * unit);
  // At least a trace of the identity, so that the result can always be factored.
  return ShrinkTowardsIdentity(covariance, std::max(intensity, kLeastIntensity));
}

Eigen::VectorXd WarmUpPath::Next(double max_weights_norm) const {
  const Eigen::LLT<Eigen::MatrixXd> factor(Preconditioner());
  const Eigen::Index count = static_cast<Eigen::Index>(means_.size());
  Eigen::MatrixXd gradients(scatter_.rows(), count);
  for (Eigen::Index i = 0; i < count; ++i) gradients.col(i) = means_[static_cast<size_t>(i)];
  factor.matrixL().solveInPlace(gradients);

  Eigen::MatrixXd gram = gradients.transpose() * gradients;
  gram.diagonal().array() += kRidge * gram.trace() + std::numeric_limits<double>::min();
  Eigen::VectorXd coefficients = gram.colPivHouseholderQr().solve(Eigen::VectorXd::Ones(count));
  coefficients /= coefficients.sum();

  Eigen::VectorXd next = gradients * coefficients;
  factor.matrixU().solveInPlace(next);
  next = -next;
  for (Eigen::Index i = 0; i < count; ++i) next += coefficients(i) * weights_[static_cast<size_t>(i)];
  const double norm = next.norm();
  if (!std::isfinite(norm)) return weights_.back();
  if (norm > max_weights_norm) next *= max_weights_norm / norm;
  return next;
}

}  // namespace gradoracle
