#include "client/audit/batch_recovery.h"

#include <algorithm>
#include <numeric>

#include "Eigen/QR"

namespace gradoracle {
namespace {

constexpr size_t kStarts = 16;
constexpr double kExact = 1e-5;

Eigen::ArrayXd InverseNorms(const RowMajorMatrix& rows) {
  const Eigen::ArrayXd norms = rows.rowwise().norm().array();
  return (norms > 0).select(norms.max(1e-300).inverse(), 0.0);
}

// |cos| of every row with `direction`, up to its norm.
Eigen::ArrayXd Scores(const RowMajorMatrix& rows, const Eigen::ArrayXd& inverse_norms,
                      const Eigen::VectorXd& direction) {
  return (rows * direction).array().abs() * inverse_norms;
}

// What least squares on `chosen` rows leaves of the gradient.
Eigen::VectorXd Rest(const RowMajorMatrix& rows, const std::vector<int64_t>& chosen, const Eigen::VectorXd& gradient) {
  Eigen::MatrixXd columns(rows.cols(), static_cast<Eigen::Index>(chosen.size()));
  for (size_t k = 0; k < chosen.size(); ++k)
    columns.col(static_cast<Eigen::Index>(k)) = rows.row(chosen[k]).transpose();
  return gradient - columns * columns.colPivHouseholderQr().solve(gradient);
}

RecoveredBatch Pursue(const RowMajorMatrix& rows, const Eigen::ArrayXd& inverse_norms, const Eigen::VectorXd& gradient,
                      int64_t batch_size, int64_t start) {
  RecoveredBatch batch;
  Eigen::VectorXd rest = gradient;
  int64_t next = start;
  while (true) {
    batch.rows.push_back(next);
    rest = Rest(rows, batch.rows, gradient);
    batch.residual = rest.norm() / gradient.norm();
    batch.exact = batch.residual <= kExact;
    if (batch.exact || static_cast<int64_t>(batch.rows.size()) >= batch_size) return batch;
    Eigen::ArrayXd scores = Scores(rows, inverse_norms, rest);
    for (const int64_t taken : batch.rows) scores[taken] = 0;
    scores.maxCoeff(&next);
  }
}

}  // namespace

ClosestRow FindClosestRow(const RowMajorMatrix& rows, const Eigen::VectorXd& gradient) {
  ClosestRow closest;
  const double norm = gradient.norm();
  if (norm == 0) return closest;
  Eigen::Index row = 0;
  const double score = Scores(rows, InverseNorms(rows), gradient).maxCoeff(&row);
  if (score == 0) return closest;
  return {row, score / norm};
}

RecoveredBatch RecoverBatch(const RowMajorMatrix& rows, const Eigen::VectorXd& gradient, int64_t batch_size) {
  RecoveredBatch best;
  if (gradient.norm() == 0) return best;
  const Eigen::ArrayXd inverse_norms = InverseNorms(rows);
  const Eigen::ArrayXd scores = Scores(rows, inverse_norms, gradient);
  std::vector<int64_t> starts(static_cast<size_t>(rows.rows()));
  std::iota(starts.begin(), starts.end(), 0);
  const size_t count = std::min(kStarts, starts.size());
  std::partial_sort(starts.begin(), starts.begin() + static_cast<std::ptrdiff_t>(count), starts.end(),
                    [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  for (size_t k = 0; k < count; ++k) {
    RecoveredBatch batch = Pursue(rows, inverse_norms, gradient, batch_size, starts[k]);
    if (k == 0 || batch.residual < best.residual) best = std::move(batch);
    if (best.exact) break;
  }
  return best;
}

}  // namespace gradoracle
