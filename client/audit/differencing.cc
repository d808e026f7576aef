#include "client/audit/differencing.h"

#include <algorithm>
#include <cmath>

#include "Eigen/Eigenvalues"
#include "absl/random/distributions.h"
#include "absl/strings/str_cat.h"
#include "client/estimation/noise_level.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kFewest = 32;  // one gradient at each of two points of two oracles in the first round

absl::StatusOr<Eigen::VectorXd> MeanGradient(GradientSource& source, const GradientQuery& query) {
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(query.weights.size());
  GRADORACLE_RETURN_IF_ERROR(source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    sum += block.colwise().sum().transpose();
    return absl::OkStatus();
  }));
  return sum / static_cast<double>(query.count);
}

// (g(+R v) - g(-R v))/(2R) = H v in the mean, times the number of rows.
absl::StatusOr<Eigen::VectorXd> RowSumAlong(GradientSource& source, const OracleInfo& info, int64_t batch_size,
                                            int64_t count, double radius, const Eigen::VectorXd& along) {
  GradientQuery query;
  query.batch_size = batch_size;
  query.count = count;
  ApplyNoiseLevel(SmallestNoiseLevel(info, batch_size), query);
  query.weights = radius * along;
  GRADORACLE_ASSIGN_OR_RETURN(const Eigen::VectorXd plus, MeanGradient(source, query));
  query.weights = -query.weights;
  GRADORACLE_ASSIGN_OR_RETURN(const Eigen::VectorXd minus, MeanGradient(source, query));
  return (plus - minus) * (static_cast<double>(info.row_count) / (2 * radius));
}

}  // namespace

AppendedRow RowFromHessians(const Eigen::MatrixXd& before, const Eigen::MatrixXd& after, int64_t row_count_before) {
  const double rows = static_cast<double>(row_count_before);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen((rows + 1) * after - rows * before);
  AppendedRow row;
  row.direction = eigen.eigenvectors().rightCols(1);
  row.norm = std::sqrt(std::max(eigen.eigenvalues().tail(1)[0], 0.0));
  return row;
}

absl::StatusOr<AppendedRow> RowFromGradients(GradientSource& before, GradientSource& after, int64_t batch_size,
                                             int64_t budget, absl::BitGenRef generator) {
  if (budget < kFewest) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "budget",
                     absl::StrCat("budget is ", budget, ", but comparing two data sets needs at least ", kFewest));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info_before, before.Info());
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info_after, after.Info());
  const double radius = std::min(info_before.limits.max_weights_norm, info_after.limits.max_weights_norm);
  AppendedRow row;
  row.direction = Eigen::VectorXd::NullaryExpr(info_before.dimension,
                                               [&](Eigen::Index) { return absl::Gaussian<double>(generator); });
  row.direction.normalize();
  for (const int64_t share : {8, 8, 4, 2}) {
    const int64_t each = budget / (4 * share);  // at two points of two oracles
    GRADORACLE_ASSIGN_OR_RETURN(const Eigen::VectorXd with,
                                RowSumAlong(after, info_after, batch_size, each, radius, row.direction));
    GRADORACLE_ASSIGN_OR_RETURN(const Eigen::VectorXd without,
                                RowSumAlong(before, info_before, batch_size, each, radius, row.direction));
    const Eigen::VectorXd along = with - without;
    row.norm = std::sqrt(std::max(along.dot(row.direction), 0.0));
    if (along.norm() > 0) row.direction = along.normalized();
    row.gradients += 4 * each;
  }
  return row;
}

}  // namespace gradoracle
