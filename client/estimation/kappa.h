#ifndef GRADORACLE_CLIENT_ESTIMATION_KAPPA_H_
#define GRADORACLE_CLIENT_ESTIMATION_KAPPA_H_

#include <cstdint>

#include "Eigen/Core"

namespace gradoracle {

// How far from the optimum the gradients were taken: kappa = mu'(nC)^{-1} mu = q/(tau^2 + 2q) < 1/2 for Gaussian
// features, mu and C mean and covariance of the gradients, q = (w - w*)'H(w - w*) [theory 1.4.2]. Estimated from
// `count` gradients by the mean of Hotelling's T^2 (noncentral F, exact for Gaussian gradients):
//   kappa_hat = [ (m-d-2)/(m-1) mean' covariance^{-1} mean - d/m ] / n,   clipped to [0, 0.49].
// A singular covariance (exactly collinear features) is inverted on its range, d then being its rank.
// Requires m > d + 2.
double EstimateKappa(const Eigen::MatrixXd& covariance, const Eigen::VectorXd& mean, int64_t count, int64_t batch_size);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_KAPPA_H_
