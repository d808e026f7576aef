#include "core/accountant/noise_norms.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "Eigen/Eigenvalues"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "core/error_norm.h"
#include "core/normal.h"
#include "core/random_stream.h"

namespace gradoracle {
namespace {

constexpr int kDraws = 24;
constexpr int kDrawsOfLarge = 8;  // above 256 rows, where one norm takes long and varies less
constexpr Eigen::Index kLargestDimension = 1024;

// Standard normal entries. The key is public: these are nodes of a numerical integral, not noise of any reply.
Eigen::MatrixXd StandardNormalMatrix(Eigen::Index dimension, int draw) {
  static constexpr RequestKey kPublicKey = {};
  std::vector<uint64_t> words(static_cast<size_t>(dimension * dimension));
  RandomStream(kPublicKey).Fill(RandomPurpose::kNoise, static_cast<uint64_t>(draw), absl::MakeSpan(words));
  Eigen::MatrixXd matrix(dimension, dimension);
  StandardNormalFromWords(words, absl::MakeSpan(matrix.data(), words.size()));
  return matrix;
}

// Entries of variance 1, on the diagonal 2.
Eigen::MatrixXd SymmetricNormalMatrix(Eigen::Index dimension, int draw) {
  const Eigen::MatrixXd matrix = StandardNormalMatrix(dimension, draw);
  return (matrix + matrix.transpose()) / std::sqrt(2.0);
}

// Square roots of the largest eigenvalues, descending.
Eigen::VectorXd Roots(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues) {
  Eigen::VectorXd roots = eigenvalues.cwiseMax(0).cwiseSqrt();
  std::sort(roots.begin(), roots.end(), std::greater<>());
  return roots.head(std::min(roots.size(), kLargestDimension)).eval();
}

NormLaw Simulate(Eigen::Index dimension, absl::FunctionRef<Eigen::MatrixXd(int draw)> matrix) {
  const int draws = dimension > 256 ? kDrawsOfLarge : kDraws;
  double sum = 0;
  double squares = 0;
  for (int draw = 0; draw < draws; ++draw) {
    const double norm = SpectralNormSymmetric(matrix(draw));
    sum += norm;
    squares += norm * norm;
  }
  const double mean = sum / draws;
  return {mean, std::sqrt(std::max(0.0, (squares - sum * mean) / (draws - 1)))};
}

}  // namespace

NormLaw CovarianceNoiseNorm(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues) {
  const Eigen::VectorXd roots = Roots(eigenvalues);
  return Simulate(roots.size(), [&](int draw) -> Eigen::MatrixXd {
    return roots.asDiagonal() * SymmetricNormalMatrix(roots.size(), draw) * roots.asDiagonal();
  });
}

NormLaw SlopeNoiseNorm(const Eigen::Ref<const Eigen::VectorXd>& eigenvalues) {
  const Eigen::VectorXd roots = Roots(eigenvalues);
  return Simulate(roots.size(), [&](int draw) -> Eigen::MatrixXd {
    const Eigen::MatrixXd slope = StandardNormalMatrix(roots.size(), draw) * roots.asDiagonal();
    return (slope + slope.transpose()) / 2;
  });
}

NormLaw UnitDiagonalNoiseNorm(const Eigen::Ref<const Eigen::MatrixXd>& hessian) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(hessian);
  const Eigen::VectorXd roots = solver.eigenvalues().cwiseMax(0).cwiseSqrt();
  const Eigen::MatrixXd root = solver.eigenvectors() * roots.asDiagonal() * solver.eigenvectors().transpose();
  return Simulate(roots.size(), [&](int draw) -> Eigen::MatrixXd {
    Eigen::MatrixXd error = root * SymmetricNormalMatrix(hessian.rows(), draw) * root;
    const Eigen::VectorXd half_diagonal = error.diagonal() / 2;
    error -= half_diagonal.asDiagonal() * hessian + hessian * half_diagonal.asDiagonal();
    return error;
  });
}

}  // namespace gradoracle
