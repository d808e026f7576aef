#ifndef GRADORACLE_CLIENT_ESTIMATION_WARM_UP_H_
#define GRADORACLE_CLIENT_ESTIMATION_WARM_UP_H_

#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "client/estimation/estimation_run.h"
#include "core/regression_data.h"

namespace gradoracle {

// Towards the optimum from gradients at tau^2 = n alone, by many short averages [estimators on real data, A.7].
// Assumes diag H = 1 (standardised features).
//
// At visited points w_i with mean gradients g_i (k_i of them each):
//   P    = shrunk, unit-diagonal form of the pooled covariance, each gradient weighted by 1/x_i, x_i the mean variance
//          of a coordinate at point i (far points are all residual);
//   a    = argmin |sum a_i L^{-1} g_i|^2 subject to sum a_i = 1, P = L L': affine least squares (Anderson 1965), whose
//          damping is the noise of the means itself, on the diagonal of the Gram matrix;
//   next = sum a_i (w_i - P^{-1} g_i), no line search.
// Shrinkage is Ledoit & Wolf's (2004), so that fewer gradients than features are enough.
class WarmUpPath {
 public:
  // Requires dimension >= 1, total_noise_variance > 0.
  WarmUpPath(int64_t dimension, int64_t batch_size, double total_noise_variance);

  // gradients: (k, d), k >= 2, taken at `weights`.
  void Add(const Eigen::VectorXd& weights, const RowMajorMatrix& gradients);

  int64_t points() const { return static_cast<int64_t>(weights_.size()); }

  // Excess of the diagonal that gradients, shape (k, d), k >= 2, show: n C_jj / tau^2 - 1.
  struct Excess {
    double mean = 0;
    double largest = 0;
  };
  Excess ExcessOf(const RowMajorMatrix& gradients) const;

  // Whether the residuals' part is gone: at least 8 points, and over the last 4 the excess of the diagonal,
  // n C_jj / tau^2 - 1, has mean < 0.02 and maximum < 0.6.
  bool Converged() const;

  // The next point, drawn back to norm `max_weights_norm` where it is longer. Requires points() >= 1.
  Eigen::VectorXd Next(double max_weights_norm) const;

 private:
  Eigen::MatrixXd Preconditioner() const;

  double variance_scale_;  // n / tau^2
  std::vector<Eigen::VectorXd> weights_;
  std::vector<Eigen::VectorXd> means_;
  std::vector<Eigen::VectorXd> variances_;  // of each coordinate
  std::vector<RowMajorMatrix> rows_;        // centred gradients, scaled so that their outer products sum to scatter_
  Eigen::MatrixXd scatter_;
  double weight_ = 0;
};

// The whole estimator. Steps from `weights`, 64 gradients a point, until converged or count/4 gradients (or 64
// points) are spent; then the covariance with what remains. On the way there blocks of count/8 gradients (at most 4096)
// check the point: rows so rare that the short averages missed them show in a block, whose diagonal is then in excess
// by 0.1 on average or by 1 somewhere, and another step is made from such blocks alone, as long as half of `count`
// remains. A block without such excess counts in the covariance. `pilot`: gradients already taken at `weights`,
// counted in the steps; (0, d) for none.
absl::StatusOr<HessianEstimate> WarmUpAndEstimate(EstimationRun& run, const NoiseChoice& noise, Eigen::VectorXd weights,
                                                  const RowMajorMatrix& pilot);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_WARM_UP_H_
