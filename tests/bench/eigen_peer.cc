#include "tests/bench/eigen_peer.h"

#include "Eigen/Core"

void EigenPeerGradient(const double* features, const double* targets, int64_t row_count, int64_t dimension,
                       const double* weights, const uint32_t* rows, const double* noise, int64_t batch_size,
                       double* gradient) {
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  static RowMajor batch;
  static Eigen::VectorXd residuals;
  const Eigen::Map<const RowMajor> x(features, row_count, dimension);
  const Eigen::Map<const Eigen::VectorXd> w(weights, dimension);
  batch.resize(batch_size, dimension);
  residuals.resize(batch_size);
  for (int64_t i = 0; i < batch_size; ++i) {
    batch.row(i) = x.row(rows[i]);
    residuals[i] = -targets[rows[i]] - noise[i];
  }
  residuals.noalias() += batch * w;
  Eigen::Map<Eigen::VectorXd> g(gradient, dimension);
  g.noalias() = batch.transpose() * residuals;
  g /= static_cast<double>(batch_size);
}
