#ifndef GRADORACLE_CORE_LEAST_SQUARES_H_
#define GRADORACLE_CORE_LEAST_SQUARES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "core/regression_data.h"

namespace gradoracle {

// The least-squares fit of a data set: min_w ||X w - y||^2, by orthogonal reductions of row blocks (TSQR: [X y] -> R,
// backward stable, memory O(d^2 + block)), then a rank-revealing QR of R.
struct LeastSquaresFit {
  Eigen::VectorXd weights;           // w*, (d); the minimum-norm solution when rank < d
  int64_t rank = 0;                  // numerical rank of X, tolerance max(N, d) * eps * largest singular value
  int64_t degrees_of_freedom = 0;    // N - rank
  // sigma^2 = ||X w* - y||^2 / (N - rank). When N == rank the fit interpolates: every residual of the data an oracle
  // draws from is zero, so sigma^2 is 0 *for that oracle* (its gradients at w* carry injected noise only), though
  // nothing is known about fresh data. `interpolates` says so.
  double residual_variance = 0;
  bool interpolates = false;
  Eigen::MatrixXd hessian;           // H = X'X / N, (d, d)
  Eigen::VectorXd eigenvalues;       // of H, descending
  // Features that are linear combinations of others (numerically), by name; empty when rank == d.
  std::vector<std::string> collinear_features;
};

// Errors: kInvalidArgument (N < 1, d < 1).
absl::StatusOr<LeastSquaresFit> FitLeastSquares(const RegressionData& data);

// tr(H) / ||H||_2 from eigenvalues (any order); 0 for the zero matrix.
double EffectiveRank(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_LEAST_SQUARES_H_
