#ifndef GRADORACLE_CORE_ACCOUNTANT_NOISE_NORMS_H_
#define GRADORACLE_CORE_ACCOUNTANT_NOISE_NORMS_H_

#include "Eigen/Core"

// Operator norms of the random matrices that estimation errors converge to, by a fixed simulation: the same numbers
// every time. The closed forms (theory 1.2, 3.2) are 1.3 to 2 times too large on decaying spectra.
namespace gradoracle {

// Mean and standard deviation of a norm.
struct NormLaw {
  double mean = 0;
  double deviation = 0;
};

// ||C^(1/2) W C^(1/2)||, W symmetric Gaussian with entries of variance 1, on the diagonal 2: sqrt(m) times the error of
// the sample covariance of m Gaussian gradients of covariance C, as m grows (theory 1.1.5). eigenvalues: of C, >= 0,
// any order. C = I: mean about 2 sqrt(d).
// Above 1024 eigenvalues the largest 1024 are kept, whose norm is smaller by what the others add.
NormLaw CovarianceNoiseNorm(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues);

// ||(G M^(1/2) + M^(1/2) G') / 2||, G with independent N(0, 1) entries: the noise of a symmetrised least-squares slope
// whose rows have covariance M (theory 3.2). M = I: mean about sqrt(2 d). As above.
NormLaw SlopeNoiseNorm(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues);

// ||E - (D H + H D)/2||, E = H^(1/2) W H^(1/2), D = diag E: the same as the first for an estimate rescaled to the unit
// diagonal that H is known to have, to first order (theory 1.4.6). Requires d <= 512.
NormLaw UnitDiagonalNoiseNorm(const Eigen::Ref<const Eigen::MatrixXd>& hessian);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ACCOUNTANT_NOISE_NORMS_H_
