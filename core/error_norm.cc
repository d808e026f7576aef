#include "core/error_norm.h"

#include <cmath>
#include <exception>
#include <limits>
#include <optional>

#include "Eigen/Eigenvalues"
#include "Spectra/MatOp/DenseSymMatProd.h"
#include "Spectra/SymEigsSolver.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr Eigen::Index kLargestExactDimension = 256;
constexpr Eigen::Index kLanczosVectors = 40;
constexpr int kLanczosRestarts = 1000;
constexpr double kLanczosTolerance = 1e-6;

double SpectralNormByFullSpectrum(const Eigen::MatrixXd& matrix) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix, Eigen::EigenvaluesOnly);
  // All NaN-free input converges in practice; the Frobenius norm is an upper bound should it ever not.
  if (solver.info() != Eigen::Success) return matrix.norm();
  return solver.eigenvalues().cwiseAbs().maxCoeff();
}

// Is (value, vector) an eigenpair to the tolerance, and not below what the columns already prove?
bool IsTopEigenpair(const Eigen::MatrixXd& matrix, double value, const Eigen::VectorXd& vector) {
  const double residual = (matrix * vector - value * vector).norm();
  return residual <= kLanczosTolerance * std::abs(value) * vector.norm() &&
         std::abs(value) >= (1 - kLanczosTolerance) * matrix.colwise().norm().maxCoeff();
}

// The largest eigenvalue in magnitude by Lanczos, from a fixed pseudo-random start: the same bits every time. Nullopt
// when it fails. The result is verified, because on matrices of very low rank Spectra 1.0 orthogonalises rounding
// noise: it then throws, or returns numbers far above the norm.
std::optional<double> LargestByLanczos(const Eigen::MatrixXd& matrix) {
  try {
    Spectra::DenseSymMatProd<double> product(matrix);
    Spectra::SymEigsSolver<Spectra::DenseSymMatProd<double>> solver(product, 1, kLanczosVectors);
    solver.init();
    const Eigen::Index converged =
        solver.compute(Spectra::SortRule::LargestMagn, kLanczosRestarts, kLanczosTolerance / 10);
    if (converged < 1 || !IsTopEigenpair(matrix, solver.eigenvalues()[0], solver.eigenvectors().col(0))) {
      return std::nullopt;
    }
    return std::abs(solver.eigenvalues()[0]);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

double SpectralNormByLanczos(const Eigen::MatrixXd& matrix) {
  const std::optional<double> norm = LargestByLanczos(matrix);
  return norm.has_value() ? *norm : SpectralNormByFullSpectrum(matrix);
}

absl::Status CheckShapes(const Eigen::Ref<const Eigen::MatrixXd>& estimate,
                         const Eigen::Ref<const Eigen::MatrixXd>& truth) {
  if (estimate.rows() == truth.rows() && estimate.cols() == truth.cols() && truth.rows() == truth.cols() &&
      truth.rows() >= 1) {
    return absl::OkStatus();
  }
  return InvalidField("HESSIAN_SHAPE", "hessian",
                      absl::StrCat("the estimate is ", estimate.rows(), " x ", estimate.cols(), ", the truth ",
                                   truth.rows(), " x ", truth.cols(), "; both must be d x d with the same d >= 1"));
}

}  // namespace

double SpectralNormSymmetric(const Eigen::Ref<const Eigen::MatrixXd>& matrix) {
  // Both triangles from the lower one, so that nothing below ever sees the upper.
  Eigen::MatrixXd lower = matrix.selfadjointView<Eigen::Lower>();
  if (lower.size() == 0) return 0;
  if (!lower.allFinite()) return std::numeric_limits<double>::quiet_NaN();
  const double largest_entry = lower.cwiseAbs().maxCoeff();
  if (largest_entry == 0) return 0;
  // A power of two, so that nothing is rounded and no square overflows.
  const int exponent = std::ilogb(largest_entry);
  lower = lower.unaryExpr([exponent](double entry) { return std::ldexp(entry, -exponent); });
  const double norm =
      lower.rows() <= kLargestExactDimension ? SpectralNormByFullSpectrum(lower) : SpectralNormByLanczos(lower);
  return std::ldexp(norm, exponent);
}

absl::StatusOr<double> RelativeError(const Eigen::Ref<const Eigen::MatrixXd>& estimate,
                                     const Eigen::Ref<const Eigen::MatrixXd>& truth) {
  if (const absl::Status status = CheckShapes(estimate, truth); !status.ok()) return status;
  if (!estimate.allFinite() || !truth.allFinite()) {
    return InvalidField("HESSIAN_NOT_FINITE", "hessian",
                        absl::StrCat("the ", truth.allFinite() ? "estimate" : "truth",
                                     " has an entry that is not finite; all must be finite"));
  }
  const double truth_norm = SpectralNormSymmetric(truth);
  if (truth_norm == 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "HESSIAN_ZERO", "hessian",
                     "the truth is the zero matrix; a relative error needs a truth that is not zero");
  }
  const Eigen::MatrixXd half_difference = 0.5 * (estimate - truth);
  const Eigen::MatrixXd difference = half_difference + half_difference.transpose();
  return SpectralNormSymmetric(difference) / truth_norm;
}

}  // namespace gradoracle
