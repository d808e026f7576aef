#ifndef GRADORACLE_CLIENT_ESTIMATION_UNIT_DIAGONAL_H_
#define GRADORACLE_CLIENT_ESTIMATION_UNIT_DIAGONAL_H_

#include "Eigen/Core"

// Standardised features have diag H = 1 exactly. An estimate can be made to agree [theory 1.4.6]:
//   H_u = D^{-1/2} H_hat D^{-1/2},   D = diag H_hat.
// This needs no tau^2, removes every bias of pure scale, and takes out the part of the sampling error that lies along
// the diagonal.
namespace gradoracle {

// 1 / sqrt(diag hessian), shape (d); 0 where that is not positive, for a feature that no gradient has touched.
Eigen::VectorXd UnitDiagonalScale(const Eigen::MatrixXd& hessian);

// hessian = S hessian S with S = diag(scale); the diagonal is then set to 1 exactly.
void ImposeUnitDiagonal(const Eigen::VectorXd& scale, Eigen::MatrixXd& hessian);

// What an error E of H_hat becomes in H_u, to first order (delta method): with F = S E S,
//   F - (diag(F) H_u + H_u diag(F)) / 2,
// whose diagonal is zero. Only the lower triangle of `difference` is read and written. Relative to E the result is
// exact up to terms of order ||E||^2.
void LineariseUnitDiagonal(const Eigen::VectorXd& scale, const Eigen::MatrixXd& unit_hessian,
                           Eigen::MatrixXd& difference);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_UNIT_DIAGONAL_H_
