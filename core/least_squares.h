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
  Eigen::VectorXd weights;  // w*, (d); the minimum-norm solution when rank < d
  // Numerical rank of X with its columns scaled to unit length (so that it does not depend on the features' units):
  // diagonal entries of the pivoted triangle above max(N, d, 1000) * eps * the largest one.
  int64_t rank = 0;
  int64_t degrees_of_freedom = 0;  // N - rank
  // sigma^2 = ||X w* - y||^2 / (N - rank). When N == rank, or the residual is lost in rounding (||X w* - y|| at most
  // max(N, d, 1000) * eps * ||y||: standardised data with d >= N, say), the fit interpolates: every residual of the
  // data an oracle draws from is zero, so sigma^2 is 0 *for that oracle* (its gradients at w* carry injected noise
  // only), though nothing is known about fresh data. `interpolates` says so.
  double residual_variance = 0;
  bool interpolates = false;
  Eigen::MatrixXd hessian;      // H = X'X / N, (d, d)
  Eigen::VectorXd eigenvalues;  // of H, descending
  // Every feature that is a linear combination of others (numerically), by name, in the order of the data: both of two
  // equal columns, all of a complete one-hot set. Empty when rank == d.
  std::vector<std::string> collinear_features;
};

// Cost 2 N d^2 flops. Errors: kInvalidArgument DATA_EMPTY (N < 1, d < 1), DATA_TOO_LARGE (squares overflow).
absl::StatusOr<LeastSquaresFit> FitLeastSquares(const RegressionData& data);

// tr(H) / ||H||_2 from eigenvalues (any order); 0 for the zero matrix.
double EffectiveRank(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_LEAST_SQUARES_H_
