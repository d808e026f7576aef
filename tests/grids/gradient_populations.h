#ifndef GRADORACLE_TESTS_GRIDS_GRADIENT_POPULATIONS_H_
#define GRADORACLE_TESTS_GRIDS_GRADIENT_POPULATIONS_H_

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "Eigen/Core"
#include "core/regression_data.h"

namespace gradoracle {

// A law of minibatch gradients whose expected covariance is known exactly, tau^2 = n, at the optimum (no bias): the
// truth that an error limit is held against.
class GradientPopulation {
 public:
  virtual ~GradientPopulation() = default;
  virtual int64_t dimension() const = 0;
  // E H_hat = (n / tau^2) Cov(g), (d, d).
  virtual const Eigen::MatrixXd& Truth() const = 0;
  virtual RowMajorMatrix Draw(std::mt19937_64& generator, int64_t count) = 0;
};

// Gaussian features of covariance diag(variances), by the exact sampler of theory 1.1.5 in the eigenbasis, where it
// costs O(d) a gradient: g = sqrt(S)/n Lambda^{1/2} z, S = n chi^2_n. The limit is rotation-invariant.
std::unique_ptr<GradientPopulation> MakeGaussianPopulation(const Eigen::VectorXd& variances, int64_t batch_size);

// Eigenvalues by name: "identity"; "1/j"; "5 spikes" (20, 16, 12, 8, 5, then ones).
Eigen::VectorXd SpectrumVariances(const std::string& spectrum, int64_t dimension);

// The bundled house sales, standardised, served by the gradient engine at its least-squares fit. d <= 31: the first d
// features, in a fixed mixed order; beyond: products of pairs added in order, constant ones left out.
// The truth includes what the residuals' dependence on the features does to Cov(g): the limit covers sampling only.
std::unique_ptr<GradientPopulation> MakeHousePopulation(int64_t dimension, int64_t batch_size);

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_GRIDS_GRADIENT_POPULATIONS_H_
