#ifndef GRADORACLE_CLIENT_ESTIMATION_DESIGN_PAIRS_H_
#define GRADORACLE_CLIENT_ESTIMATION_DESIGN_PAIRS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "core/regression_data.h"

namespace gradoracle {

// Gradients at the points +-R q_j of a random orthonormal frame q_1 ... q_d [theory 3.1]. E g(w) = H w - H w*, so a
// pair of gradients g_+, g_- at +-R q_j gives (g_+ - g_-)/(2R), unbiased for H q_j whatever w*, tau^2 and the law of
// the features; that is least squares with an intercept. With e_j the mean over the k_j pairs of direction j,
//   H_hat = sum_j (e_j q_j' + q_j e_j')/2.
// Memory: the frame and 16 sums a direction, 17 d^2 doubles. Not thread-safe.
class DesignPairs {
 public:
  // Draws the frame (QR of a Gaussian matrix). Requires dimension >= 1, radius R > 0.
  DesignPairs(int64_t dimension, double radius, absl::BitGenRef generator);

  int64_t dimension() const { return frame_.rows(); }
  double radius() const { return radius_; }
  Eigen::VectorXd Point(int64_t direction) const { return radius_ * frame_.col(direction); }

  // Adds pairs: rows of `plus` and `minus`, (k, d), are gradients at Point(j) and -Point(j).
  void Add(int64_t direction, const RowMajorMatrix& plus, const RowMajorMatrix& minus);

  int64_t pairs() const { return pairs_; }
  int64_t pairs(int64_t direction) const { return counts_.col(direction).sum(); }
  int64_t fewest_pairs() const;  // over the directions

  // Mean of all gradients; its expectation is the gradient at w = 0.
  const Eigen::VectorXd& MeanGradient() const { return midpoint_mean_; }

  // tr N, N = 2 Cov((g_+ + g_-)/2): the covariance of one gradient with the pairs' common mean taken out. Requires 2
  // pairs.
  double MidpointTrace() const;
  // Unbiased for tr H, from the directions that have pairs: d times the mean of q_j'e_j. Requires 1 pair.
  double Trace() const;

  // H_hat; requires fewest_pairs() >= 1.
  Eigen::MatrixXd Hessian() const;

  // lower (its lower triangle) = a random difference of mean 0 and the covariance of H_hat - H: each direction's pairs
  // lie in 16 blocks, in turn, and blocks differ with random signs, as in split_limit.h. Requires fewest_pairs() >= 2.
  void DrawDifference(absl::BitGenRef generator, Eigen::MatrixXd& lower) const;

 private:
  static constexpr int kBlocks = 16;

  double radius_;
  Eigen::MatrixXd frame_;              // (d, d), columns q_j
  std::vector<Eigen::MatrixXd> sums_;  // per block, (d, d): column j is the sum of (g_+ - g_-)/(2R)
  Eigen::Matrix<int64_t, Eigen::Dynamic, Eigen::Dynamic> counts_;  // (blocks, d), pairs
  int64_t pairs_ = 0;
  // Of the midpoints (g_+ + g_-)/2, by Welford: mean, and sum of squared distances to it.
  Eigen::VectorXd midpoint_mean_;
  double midpoint_squares_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_DESIGN_PAIRS_H_
