#ifndef GRADORACLE_TESTS_ESTIMATION_GAUSSIAN_GRADIENTS_H_
#define GRADORACLE_TESTS_ESTIMATION_GAUSSIAN_GRADIENTS_H_

#include <cmath>
#include <cstdint>
#include <random>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "absl/random/gaussian_distribution.h"
#include "core/regression_data.h"

namespace gradoracle {

// (count, dimension) standard normal numbers.
inline RowMajorMatrix StandardNormal(std::mt19937_64& generator, int64_t count, int64_t dimension) {
  absl::gaussian_distribution<double> normal;
  RowMajorMatrix matrix(count, dimension);
  for (int64_t i = 0; i < matrix.size(); ++i) matrix.data()[i] = normal(generator);
  return matrix;
}

// Gradients of batches of n rows at w, exactly as a Gaussian population gives them [theory 1.1.4]: x ~ N(0, Sigma),
// total noise variance tau^2, Delta = w - w*. With q = Delta'Sigma Delta, mu = Sigma Delta and S = (tau^2 + q) chi^2_n,
//   g = b S/n + sqrt(S)/n (Sigma - (tau^2+q) bb')^{1/2} z,   b = mu/(tau^2+q),  z ~ N(0, I).
inline RowMajorMatrix GaussianPopulationGradients(std::mt19937_64& generator, const Eigen::MatrixXd& sigma,
                                                  const Eigen::VectorXd& delta, int64_t batch_size,
                                                  double total_noise_variance, int64_t count) {
  const Eigen::VectorXd mean = sigma * delta;
  const double variance = total_noise_variance + delta.dot(mean);
  const Eigen::VectorXd direction = mean / variance;
  const Eigen::MatrixXd rest = sigma - variance * direction * direction.transpose();
  const Eigen::MatrixXd root = Eigen::LLT<Eigen::MatrixXd>(rest).matrixL();
  const double n = static_cast<double>(batch_size);
  std::gamma_distribution<double> half_chi_square(n / 2, 2.0);
  RowMajorMatrix gradients = StandardNormal(generator, count, sigma.rows()) * root.transpose();
  for (int64_t k = 0; k < count; ++k) {
    const double sum = variance * half_chi_square(generator);
    gradients.row(k) = direction.transpose() * (sum / n) + std::sqrt(sum) / n * gradients.row(k);
  }
  return gradients;
}

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_ESTIMATION_GAUSSIAN_GRADIENTS_H_
