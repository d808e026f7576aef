#include "client/estimation/preconditioner.h"

#include <cmath>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "client/estimation/unit_diagonal.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

// Eigenvalues below this share of the largest are the rounding of an exactly singular matrix.
constexpr double kSingular = 1e-12;

}  // namespace

absl::StatusOr<Preconditioner> Preconditioner::FromHessian(const Eigen::Ref<const Eigen::MatrixXd>& hessian,
                                                           int64_t gradients, const Options& options) {
  const int64_t dimension = hessian.rows();
  if (dimension < 1 || hessian.cols() != dimension) {
    return InvalidField("HESSIAN_SHAPE", "hessian",
                        absl::StrCat("hessian has shape (", hessian.rows(), ", ", hessian.cols(),
                                     "), but must be square with at least one row"));
  }
  if (!hessian.allFinite()) {
    return InvalidField("HESSIAN_NOT_FINITE", "hessian", "hessian has a NaN or infinite entry");
  }
  Eigen::MatrixXd inverted = hessian;
  if (options.unit_diagonal) ImposeUnitDiagonal(UnitDiagonalScale(inverted), inverted);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(inverted);
  const Eigen::VectorXd& eigenvalues = solver.eigenvalues();  // ascending
  const double largest = eigenvalues(dimension - 1);
  if (!(largest > 0)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "HESSIAN_ZERO", "hessian",
                     "hessian: no eigenvalue is positive, so that there is nothing to invert");
  }
  const int64_t rank = (eigenvalues.array() > kSingular * largest).count();
  // With m <= d a sample covariance has rank m - 1: what looks like collinear features is too few gradients.
  const int64_t needed = (gradients <= dimension ? dimension : rank) + 3;
  if (gradients < needed) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS_TO_INVERT", "count",
                     absl::StrCat("count: a Hessian of dimension ", dimension, " from ", gradients,
                                  " gradients cannot be inverted; must be at least ", needed, ", and ", 4 * dimension,
                                  " (4 per dimension) makes a useful inverse. Or use a method without an inverse "
                                  "(--method sgd)"));
  }
  const double m = static_cast<double>(gradients);
  const double d = static_cast<double>(rank);
  const double factor = (m - d - 2) / (m - 1);
  Preconditioner result;
  result.dimension_ = dimension;
  result.rank_ = rank;
  result.root_ = (factor * eigenvalues.tail(rank).cwiseInverse()).cwiseSqrt().asDiagonal() *
                 solver.eigenvectors().rightCols(rank).transpose();
  const double edge = 1 + std::sqrt(d / m);
  result.largest_underestimate_ = edge * edge / factor;
  return result;
}

Preconditioner Preconditioner::Scaled(int64_t dimension, double scale) {
  Preconditioner result;
  result.dimension_ = dimension;
  result.rank_ = dimension;
  result.scale_ = scale;
  return result;
}

Eigen::VectorXd Preconditioner::Apply(const Eigen::Ref<const Eigen::VectorXd>& vector) const {
  if (root_.size() == 0) return scale_ * vector;
  return root_.transpose() * (root_ * vector);
}

double Preconditioner::QuadraticForm(const Eigen::Ref<const Eigen::VectorXd>& vector) const {
  if (root_.size() == 0) return scale_ * vector.squaredNorm();
  return (root_ * vector).squaredNorm();
}

double Preconditioner::TraceOfProduct(const Eigen::Ref<const Eigen::MatrixXd>& covariance) const {
  if (root_.size() == 0) return scale_ * covariance.trace();
  return (root_ * covariance).cwiseProduct(root_).sum();
}

}  // namespace gradoracle
