#include "client/estimation/unit_diagonal.h"

#include <limits>

namespace gradoracle {

Eigen::VectorXd UnitDiagonalScale(const Eigen::MatrixXd& hessian) {
  const auto diagonal = hessian.diagonal().array();
  return (diagonal > 0).select(diagonal.max(std::numeric_limits<double>::min()).rsqrt(), 0.0).matrix();
}

void ImposeUnitDiagonal(const Eigen::VectorXd& scale, Eigen::MatrixXd& hessian) {
  hessian.array().colwise() *= scale.array();
  hessian.array().rowwise() *= scale.transpose().array();
  hessian.diagonal().setOnes();
}

void LineariseUnitDiagonal(const Eigen::VectorXd& scale, const Eigen::MatrixXd& unit_hessian,
                           Eigen::MatrixXd& difference) {
  const Eigen::VectorXd diagonal = difference.diagonal().cwiseProduct(scale.cwiseAbs2());
  for (Eigen::Index j = 0; j < difference.cols(); ++j) {
    difference(j, j) = 0;
    for (Eigen::Index i = j + 1; i < difference.rows(); ++i) {
      difference(i, j) =
          scale(i) * scale(j) * difference(i, j) - 0.5 * (diagonal(i) + diagonal(j)) * unit_hessian(i, j);
    }
  }
}

}  // namespace gradoracle
