// Uses gradoracle::estimation on exact gradients: +-sqrt(d) times each column of a root of H, so that their second
// moment is exactly H and their mean exactly zero.
#include <gradoracle/client/estimation/hessian_estimator.h>

#include <Eigen/Cholesky>
#include <cmath>
#include <iostream>
#include <random>

int main() {
  constexpr int kDimension = 3;
  constexpr int kCount = 1200;  // a multiple of 2 d
  Eigen::Matrix3d hessian;
  hessian << 1, 0.5, 0.25, 0.5, 1, 0.5, 0.25, 0.5, 1;
  const Eigen::Matrix3d root = hessian.llt().matrixL();

  gradoracle::RowMajorMatrix gradients(kCount, kDimension);
  for (int k = 0; k < kCount; ++k) {
    const double sign = k % 2 == 0 ? 1 : -1;
    gradients.row(k) = sign * std::sqrt(double{kDimension}) * root.col(k / 2 % kDimension).transpose();
  }

  gradoracle::HessianEstimator::Options options;
  options.batch_size = 64;
  options.total_noise_variance = 64;  // calibrated: H_hat is the sample covariance
  auto estimator = gradoracle::HessianEstimator::Create(kDimension, options);
  if (!estimator.ok() || !estimator->Add(gradients).ok()) return 1;
  std::mt19937_64 generator(1);
  const auto estimate = estimator->Estimate(generator, 0.95);
  if (!estimate.ok()) {
    std::cerr << estimate.status() << "\n";
    return 1;
  }
  // The sample covariance divides by m - 1.
  const Eigen::Matrix3d expected = hessian * (double{kCount} / (kCount - 1));
  const double error = (estimate->hessian - expected).norm();
  std::cout << "trace " << estimate->trace << ", distance from the closed form " << error << "\n";
  return error < 1e-12 && std::abs(estimate->trace - expected.trace()) < 1e-12 ? 0 : 1;
}
