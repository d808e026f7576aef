#ifndef GRADORACLE_CLIENT_ESTIMATION_FOURTH_MOMENT_H_
#define GRADORACLE_CLIENT_ESTIMATION_FOURTH_MOMENT_H_

#include <cstdint>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "core/regression_data.h"

namespace gradoracle {

// Sum over a stream of gradients of the fourth power of their distance from their mean, sum |g_k - mean|^4: what
// Ledoit and Wolf's intensity needs beside the covariance (shrinkage.h). O(d) memory; fed by the same sink as the
// covariance, mergeable, and it does not depend on how the stream was chunked, up to rounding.
//
// The mean is known only at the end, so powers are summed about zero and moved there, with s = |g|^2:
//   sum |g - mean|^4 = sum s^2 - 4 mean'(sum s g) + 2 |mean|^2 sum s + 4 mean'(sum g g')mean - 3 m |mean|^4.
// That cancels (|mean|^2 / trace of the covariance)^2-fold, at most batch_size^2-fold for gradients of minibatches: the
// mean's square over n is part of their covariance. Not thread-safe.
class FourthMoment {
 public:
  // Requires dimension >= 1.
  explicit FourthMoment(int64_t dimension) : weighted_sum_(Eigen::VectorXd::Zero(dimension)) {}

  // Adds gradients, shape (k, d), finite (StreamingCovariance::Add refuses others first).
  // Errors: kInvalidArgument DIMENSION_MISMATCH.
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients);

  // Takes over what `other` has gathered. Errors: kInvalidArgument DIMENSION_MISMATCH.
  absl::Status Merge(const FourthMoment& other);

  int64_t count() const { return count_; }

  // sum |g_k - mean|^4, >= 0, from the mean (d) and the scatter about it (d, d) of the same gradients.
  double AboutMean(const Eigen::VectorXd& mean, const Eigen::Ref<const Eigen::MatrixXd>& scatter) const;

 private:
  int64_t count_ = 0;
  double square_sum_ = 0;         // sum s
  double fourth_sum_ = 0;         // sum s^2
  Eigen::VectorXd weighted_sum_;  // (d) sum s g
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_FOURTH_MOMENT_H_
