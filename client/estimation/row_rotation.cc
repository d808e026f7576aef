#include "client/estimation/row_rotation.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>

#include "Eigen/Eigenvalues"
#include "Spectra/SymEigsSolver.h"
#include "client/estimation/blas.h"
#include "core/error_norm.h"

namespace gradoracle {
namespace {

constexpr int64_t kLargestFormed = 64;
constexpr int64_t kLanczosVectors = 40;
constexpr int kLanczosRestarts = 1000;
constexpr double kLanczosTolerance = 1e-6;

// x -> factor' diag(weights) factor x, as Spectra wants it.
class WeightedGramProduct {
 public:
  using Scalar = double;
  WeightedGramProduct(const Eigen::MatrixXd& factor, const Eigen::VectorXd& weights)
      : factor_(factor), weights_(weights) {}

  Eigen::Index rows() const { return factor_.cols(); }
  Eigen::Index cols() const { return factor_.cols(); }
  void perform_op(const double* in, double* out) const {
    Eigen::Map<Eigen::VectorXd>(out, factor_.cols()) = (*this)(Eigen::Map<const Eigen::VectorXd>(in, factor_.cols()));
  }
  Eigen::VectorXd operator()(const Eigen::VectorXd& vector) const {
    return factor_.transpose() * weights_.cwiseProduct(factor_ * vector);
  }

 private:
  const Eigen::MatrixXd& factor_;
  const Eigen::VectorXd& weights_;
};

std::optional<double> NormByLanczos(WeightedGramProduct product);

}  // namespace

GramEigen DecomposeGram(const Eigen::Ref<const RowMajorMatrix>& rows) {
  const int64_t k = rows.rows();
  if (k == 0) return {};
  Eigen::MatrixXd gram(k, k);
  GramMatrix(rows, gram);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram);  // reads the lower triangle
  const double largest = std::max(0.0, solver.eigenvalues()(k - 1));
  const int64_t rank =
      std::min((solver.eigenvalues().array() > 1e-14 * static_cast<double>(k) * largest).count(), rows.cols());
  return {solver.eigenvalues().tail(rank).reverse(), solver.eigenvectors().rightCols(rank).rowwise().reverse()};
}

void RotateRows(const GramEigen& gram, int64_t kept, double subtracted, Eigen::Ref<RowMajorMatrix> rows) {
  const Eigen::ArrayXd squares = gram.squares.head(kept).array();
  const Eigen::VectorXd factors = ((squares - subtracted).max(0.0) / squares).sqrt();
  CombineRows(factors.asDiagonal() * gram.eigenvectors.leftCols(kept).transpose(), rows);
}

double WeightedGramNorm(const Eigen::MatrixXd& factor, const Eigen::VectorXd& weights) {
  if (factor.size() == 0) return 0;
  if (factor.cols() > kLargestFormed) {
    if (const std::optional<double> norm = NormByLanczos({factor, weights}); norm.has_value()) return *norm;
  }
  return SpectralNormSymmetric(factor.transpose() * weights.asDiagonal() * factor);
}

namespace {

// Verified as in core/error_norm.cc: on matrices of very low rank Spectra 1.0 may throw or overstate.
std::optional<double> NormByLanczos(WeightedGramProduct product) {
  try {
    Spectra::SymEigsSolver<WeightedGramProduct> solver(product, 1, kLanczosVectors);
    solver.init();
    const Eigen::Index converged =
        solver.compute(Spectra::SortRule::LargestMagn, kLanczosRestarts, kLanczosTolerance / 10);
    if (converged < 1) return std::nullopt;
    const double value = solver.eigenvalues()[0];
    const Eigen::VectorXd vector = solver.eigenvectors().col(0);
    const double residual = (product(vector) - value * vector).norm();
    if (!(residual <= kLanczosTolerance * std::abs(value) * vector.norm())) return std::nullopt;
    return std::abs(value);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace
}  // namespace gradoracle
