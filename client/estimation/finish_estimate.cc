#include "client/estimation/finish_estimate.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "Eigen/Eigenvalues"
#include "client/estimation/split_limit.h"
#include "client/estimation/unit_diagonal.h"
#include "core/error_norm.h"

namespace gradoracle {
namespace {

constexpr int kSignDraws = 24;
constexpr double kLargestExcess = 0.6;
constexpr double kUnseenShare = 0.25;

std::vector<int64_t> UnseenFeatures(const Eigen::VectorXd& raw_diagonal) {
  std::vector<double> sorted(raw_diagonal.begin(), raw_diagonal.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  std::vector<int64_t> features;
  for (Eigen::Index j = 0; j < raw_diagonal.size(); ++j) {
    if (!(raw_diagonal(j) >= kUnseenShare * *middle)) features.push_back(j);
  }
  return features;
}

}  // namespace

void FinishEstimate(UnfinishedEstimate unfinished, double level, absl::BitGenRef generator, HessianEstimate& estimate) {
  estimate.hessian = std::move(unfinished.hessian);
  estimate.raw_diagonal = estimate.hessian.diagonal();
  estimate.unseen_features.clear();
  if (unfinished.unit_diagonal) estimate.unseen_features = UnseenFeatures(estimate.raw_diagonal);
  estimate.unit_diagonal = unfinished.unit_diagonal && estimate.raw_diagonal.minCoeff() > unfinished.smallest_diagonal;
  Eigen::VectorXd scale;
  if (estimate.unit_diagonal) {
    scale = UnitDiagonalScale(estimate.hessian);
    ImposeUnitDiagonal(scale, estimate.hessian);
  }
  estimate.eigenvalues =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(estimate.hessian, Eigen::EigenvaluesOnly).eigenvalues().reverse();
  estimate.trace = estimate.hessian.trace();
  const double norm = estimate.eigenvalues(0);
  estimate.effective_rank = norm > 0 ? estimate.trace / norm : 0;

  estimate.relative_error = {};
  estimate.relative_error.level = level;
  if (!unfinished.difference || !(norm > 0)) return;
  std::vector<double> norms(kSignDraws);
  Eigen::MatrixXd difference;
  for (double& drawn : norms) {
    unfinished.difference(generator, difference);
    if (estimate.unit_diagonal) LineariseUnitDiagonal(scale, estimate.hessian, difference);
    drawn = SpectralNormSymmetric(difference);
  }
  const SplitLimit limit = CombineSplitNorms(
      norms,
      {estimate.effective_rank, static_cast<double>(unfinished.count), estimate.batch_size, unfinished.kurtosis_share},
      level);
  estimate.relative_error.estimate = limit.mean / norm;
  if (limit.upper < norm && estimate.unseen_features.empty()) {
    estimate.relative_error.upper = limit.upper / (norm - limit.upper);
  }
}

void FindExcessDiagonal(const std::vector<std::string>& feature_names, int64_t count, HessianEstimate& estimate) {
  const double allowed =
      std::max(kLargestExcess, 5 * std::sqrt(2 / static_cast<double>(std::max<int64_t>(count, 2) - 1)));
  estimate.not_converged.clear();
  for (Eigen::Index j = 0; j < estimate.raw_diagonal.size(); ++j) {
    const double excess = estimate.raw_diagonal(j) - 1;
    if (!(excess > allowed)) continue;
    const auto index = static_cast<size_t>(j);
    estimate.not_converged.push_back({j, index < feature_names.size() ? feature_names[index] : "", excess});
  }
}

}  // namespace gradoracle
