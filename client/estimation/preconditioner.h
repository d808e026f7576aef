#ifndef GRADORACLE_CLIENT_ESTIMATION_PRECONDITIONER_H_
#define GRADORACLE_CLIENT_ESTIMATION_PRECONDITIONER_H_

#include <cstdint>

#include "Eigen/Core"
#include "absl/status/statusor.h"

namespace gradoracle {

// An inverse of the Hessian made from gradients, kept as P = R'R with R of shape (r, d), r the rank of the Hessian.
//   P = (m - d - 2)/(m - 1) H_hat^{-1},
// the factor because E H_hat^{-1} = H^{-1} (m - 1)/(m - d - 2) for Gaussian gradients [theory 5.4]. From m = 4d the
// preconditioned condition number is about 9, whatever that of H; from 10d, 3.7; from 100d, 1.5. A singular Hessian
// (exactly collinear features) gets the pseudo-inverse, with r in place of d.
//
//   absl::StatusOr<Preconditioner> inverse = Preconditioner::FromHessian(estimate.hessian, estimate.gradients, {});
//   weights -= 0.3 * inverse->Apply(gradient);
class Preconditioner {
 public:
  struct Options {
    // H is known to have unit diagonal (standardised oracle): H_hat is rescaled to it first, which needs no tau^2 and
    // mends most of what heavy-tailed features do. A feature that no gradient touched is then taken as uncorrelated.
    bool unit_diagonal = false;
  };

  // `hessian`: (d, d), symmetric, estimated from `gradients` = m gradients, m >= d + 3.
  // Errors: kInvalidArgument HESSIAN_SHAPE, HESSIAN_NOT_FINITE; kFailedPrecondition TOO_FEW_GRADIENTS_TO_INVERT (m too
  // small for the inverse to mean anything), HESSIAN_ZERO.
  static absl::StatusOr<Preconditioner> FromHessian(const Eigen::Ref<const Eigen::MatrixXd>& hessian, int64_t gradients,
                                                    const Options& options);

  // P = scale I: plain gradient steps of size `scale` > 0.
  static Preconditioner Scaled(int64_t dimension, double scale);

  int64_t dimension() const { return dimension_; }
  int64_t rank() const { return rank_; }

  Eigen::VectorXd Apply(const Eigen::Ref<const Eigen::VectorXd>& vector) const;      // P v
  double QuadraticForm(const Eigen::Ref<const Eigen::VectorXd>& vector) const;       // v'P v
  double TraceOfProduct(const Eigen::Ref<const Eigen::MatrixXd>& covariance) const;  // tr(P C)
  // Largest factor by which v'H^{-1}v can exceed v'P v in any direction, from m and d alone [theory 5.4: the edge of
  // the Marchenko-Pastur law]: (1 + sqrt(d/m))^2 (m - 1)/(m - d - 2). 3.0 at m = 4d. 1 for Scaled.
  double LargestUnderestimate() const { return largest_underestimate_; }

 private:
  Preconditioner() = default;

  int64_t dimension_ = 0;
  int64_t rank_ = 0;
  double scale_ = 0;      // of Scaled; 0 otherwise
  Eigen::MatrixXd root_;  // R; empty for Scaled
  double largest_underestimate_ = 1;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_PRECONDITIONER_H_
