#include "core/least_squares.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "Eigen/Eigenvalues"
#include "Eigen/QR"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Rows reduced at a time, in multiples of d + 1: at 4 the triangle carried along costs a quarter more work.
constexpr Eigen::Index kBlockMultiple = 4;
constexpr Eigen::Index kSmallestBlock = 512;
// A feature takes part in a linear combination when its coefficient, for columns of unit length, exceeds this.
constexpr double kSmallestCoefficient = 1e-6;

// R of [X y] = Q R, shape (d + 1, d + 1), upper triangular with zeros below. Each block of rows is stacked under the R
// so far and reduced again: a chain of Householder reductions, so R is that of [X y] up to relative errors of a modest
// multiple of eps in each column, where X'X would square the condition number.
Eigen::MatrixXd TriangularFactor(const RegressionData& data) {
  const Eigen::Index dimension = data.dimension();
  const Eigen::Index width = dimension + 1;
  const Eigen::Index row_count = data.row_count();
  const Eigen::Index block = std::min(row_count, std::max(kSmallestBlock, kBlockMultiple * width));
  Eigen::MatrixXd factor = Eigen::MatrixXd::Zero(width, width);
  Eigen::MatrixXd stack(width + block, width);
  for (Eigen::Index first = 0; first < row_count; first += block) {
    const Eigen::Index size = std::min(block, row_count - first);
    stack.topRows(width) = factor;
    stack.block(width, 0, size, dimension) = data.features.middleRows(first, size);
    stack.block(width, dimension, size, 1) = data.targets.segment(first, size);
    Eigen::Ref<Eigen::MatrixXd> used = stack.topRows(width + size);
    const Eigen::HouseholderQR<Eigen::Ref<Eigen::MatrixXd>> in_place(used);
    factor.triangularView<Eigen::Upper>() = stack.topRows(width);
  }
  return factor;
}

// R'R / N, both triangles filled from one.
Eigen::MatrixXd HessianFromFactor(const Eigen::MatrixXd& factor, double row_count) {
  Eigen::MatrixXd hessian = Eigen::MatrixXd::Zero(factor.cols(), factor.cols());
  hessian.selfadjointView<Eigen::Lower>().rankUpdate(factor.transpose(), 1.0 / row_count);
  hessian.triangularView<Eigen::StrictlyUpper>() = hessian.transpose();
  return hessian;
}

Eigen::VectorXd DescendingEigenvalues(const Eigen::MatrixXd& hessian) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(hessian, Eigen::EigenvaluesOnly);
  // H is positive semidefinite; what rounding put below zero is zero.
  return solver.eigenvalues().reverse().cwiseMax(0.0);
}

// A w = c with A of full row rank, the solution of least norm: w = Q L^-1 c with A' = Q L'.
Eigen::VectorXd MinimumNormSolution(const Eigen::MatrixXd& equations, const Eigen::VectorXd& right_hand_side) {
  const Eigen::Index rank = equations.rows();
  const Eigen::HouseholderQR<Eigen::MatrixXd> transposed(equations.transpose());
  Eigen::VectorXd solution = Eigen::VectorXd::Zero(equations.cols());
  solution.head(rank) =
      transposed.matrixQR().topRows(rank).triangularView<Eigen::Upper>().transpose().solve(right_hand_side);
  solution.applyOnTheLeft(transposed.householderQ());
  return solution;
}

// Features with a part in some exact linear relation, in the order of the data: the null vectors of the pivoted
// triangle [R11 R12] are (-R11^-1 R12 e_k, e_k).
std::vector<std::string> CollinearFeatures(const Eigen::MatrixXd& pivoted, const Eigen::VectorXi& order,
                                           Eigen::Index rank, const std::vector<std::string>& names) {
  const Eigen::Index dimension = pivoted.cols();
  Eigen::MatrixXd relations = pivoted.topRightCorner(rank, dimension - rank);
  pivoted.topLeftCorner(rank, rank).triangularView<Eigen::Upper>().solveInPlace(relations);
  std::vector<bool> involved(static_cast<size_t>(dimension), false);
  for (Eigen::Index k = rank; k < dimension; ++k) {
    involved[static_cast<size_t>(order[k])] = true;
    for (Eigen::Index i = 0; i < rank; ++i) {
      if (std::abs(relations(i, k - rank)) > kSmallestCoefficient) involved[static_cast<size_t>(order[i])] = true;
    }
  }
  std::vector<std::string> collinear;
  for (size_t j = 0; j < involved.size(); ++j) {
    if (involved[j]) collinear.push_back(names[j]);
  }
  return collinear;
}

}  // namespace

absl::StatusOr<LeastSquaresFit> FitLeastSquares(const RegressionData& data) {
  const Eigen::Index row_count = data.row_count();
  const Eigen::Index dimension = data.dimension();
  if (row_count < 1 || dimension < 1) {
    return InvalidField("DATA_EMPTY", "data", "the data has no rows or no features; needs at least one of each");
  }
  const Eigen::MatrixXd factor = TriangularFactor(data);
  const Eigen::MatrixXd features_factor = factor.topLeftCorner(dimension, dimension);

  LeastSquaresFit fit;
  fit.hessian = HessianFromFactor(features_factor, static_cast<double>(row_count));
  if (!factor.allFinite() || !fit.hessian.allFinite()) {
    return InvalidField("DATA_TOO_LARGE", "data",
                        "the data's squares overflow; values must stay within 1e150: standardise, or change units");
  }
  fit.eigenvalues = DescendingEigenvalues(fit.hessian);

  // Columns of unit length, so that the rank does not depend on the features' units.
  Eigen::VectorXd lengths = features_factor.colwise().stableNorm();
  lengths = (lengths.array() > 0).select(lengths, 1.0);
  const Eigen::MatrixXd unit_factor = features_factor * lengths.cwiseInverse().asDiagonal();
  const double tolerance = static_cast<double>(std::max<Eigen::Index>({row_count, dimension, 1000})) *
                           std::numeric_limits<double>::epsilon();
  Eigen::ColPivHouseholderQR<Eigen::MatrixXd> pivoted_qr(unit_factor);
  pivoted_qr.setThreshold(tolerance);
  const Eigen::Index rank = pivoted_qr.rank();
  const Eigen::VectorXi order = pivoted_qr.colsPermutation().indices();
  const Eigen::MatrixXd pivoted = pivoted_qr.matrixR().triangularView<Eigen::Upper>();
  fit.rank = rank;
  fit.degrees_of_freedom = row_count - rank;

  const Eigen::VectorXd rotated_targets = pivoted_qr.householderQ().transpose() * factor.topRightCorner(dimension, 1);
  if (rank == dimension) {
    // Not by way of MinimumNormSolution, whose reflections would mix units.
    const Eigen::VectorXd solution = pivoted.triangularView<Eigen::Upper>().solve(rotated_targets);
    fit.weights = (pivoted_qr.colsPermutation() * solution).cwiseQuotient(lengths);
  } else {
    Eigen::MatrixXd equations(rank, dimension);
    for (Eigen::Index k = 0; k < dimension; ++k) {
      equations.col(order[k]) = pivoted.col(k).head(rank) * lengths[order[k]];
    }
    fit.weights = MinimumNormSolution(equations, rotated_targets.head(rank));
    fit.collinear_features = CollinearFeatures(pivoted, order, rank, data.feature_names);
  }

  // What no weights reach: the rotated targets beyond the rank, and R's last diagonal entry.
  const double residual_norm =
      std::hypot(rotated_targets.tail(dimension - rank).stableNorm(), factor(dimension, dimension));
  const double targets_norm = factor.col(dimension).stableNorm();
  fit.interpolates = fit.degrees_of_freedom == 0 || residual_norm <= tolerance * targets_norm;
  if (!fit.interpolates) {
    fit.residual_variance = residual_norm * residual_norm / static_cast<double>(fit.degrees_of_freedom);
  }
  return fit;
}

double EffectiveRank(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues) {
  if (eigenvalues.size() == 0) return 0;
  const double norm = eigenvalues.cwiseAbs().maxCoeff();
  return norm > 0 ? eigenvalues.sum() / norm : 0;
}

}  // namespace gradoracle
