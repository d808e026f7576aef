#include "client/estimation/kappa.h"

#include <algorithm>

#include "Eigen/Cholesky"
#include "Eigen/Eigenvalues"

namespace gradoracle {
namespace {

constexpr double kLargestKappa = 0.49;  // kappa < 1/2 in theory; the correction's pole is at 1/2

struct Hotelling {
  double form = 0;  // mean' covariance^+ mean
  double rank = 0;
};

Hotelling HotellingForm(const Eigen::MatrixXd& covariance, const Eigen::VectorXd& mean) {
  const Eigen::LLT<Eigen::MatrixXd> factor(covariance);
  if (factor.info() == Eigen::Success && factor.rcond() > 1e-12) {
    return {mean.dot(factor.solve(mean)), static_cast<double>(mean.size())};
  }
  // Exactly collinear features: the gradients live in a subspace, and so does their mean. Pseudo-inverse.
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance);
  const double cutoff = 1e-12 * solver.eigenvalues().cwiseAbs().maxCoeff();
  Hotelling result;
  for (int64_t j = 0; j < mean.size(); ++j) {
    if (solver.eigenvalues()(j) <= cutoff) continue;
    const double projection = solver.eigenvectors().col(j).dot(mean);
    result.form += projection * projection / solver.eigenvalues()(j);
    ++result.rank;
  }
  return result;
}

}  // namespace

double EstimateKappa(const Eigen::MatrixXd& covariance, const Eigen::VectorXd& mean, int64_t count,
                     int64_t batch_size) {
  const Hotelling hotelling = HotellingForm(covariance, mean);
  const double d = hotelling.rank;
  const double m = static_cast<double>(count);
  const double kappa = ((m - d - 2) / (m - 1) * hotelling.form - d / m) / static_cast<double>(batch_size);
  return std::clamp(kappa, 0.0, kLargestKappa);
}

}  // namespace gradoracle
