#include "client/estimation/fourth_moment.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

absl::Status CheckDimension(int64_t dimension, int64_t expected) {
  if (dimension == expected) return absl::OkStatus();
  return InvalidField("DIMENSION_MISMATCH", "gradients",
                      absl::StrCat("gradients: dimension is ", dimension, ", but must be ", expected));
}

}  // namespace

absl::Status FourthMoment::Add(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  GRADORACLE_RETURN_IF_ERROR(CheckDimension(gradients.cols(), weighted_sum_.size()));
  const Eigen::VectorXd squares = gradients.rowwise().squaredNorm();
  count_ += gradients.rows();
  square_sum_ += squares.sum();
  fourth_sum_ += squares.squaredNorm();
  weighted_sum_.noalias() += gradients.transpose() * squares;
  return absl::OkStatus();
}

absl::Status FourthMoment::Merge(const FourthMoment& other) {
  GRADORACLE_RETURN_IF_ERROR(CheckDimension(other.weighted_sum_.size(), weighted_sum_.size()));
  count_ += other.count_;
  square_sum_ += other.square_sum_;
  fourth_sum_ += other.fourth_sum_;
  weighted_sum_ += other.weighted_sum_;
  return absl::OkStatus();
}

double FourthMoment::AboutMean(const Eigen::VectorXd& mean, const Eigen::Ref<const Eigen::MatrixXd>& scatter) const {
  const double m = static_cast<double>(count_);
  const double mean_square = mean.squaredNorm();
  // 4 mean'(sum g g')mean - 3 m |mean|^4, with sum g g' = scatter + m mean mean'.
  const double quadratic = 4 * mean.dot(scatter * mean) + m * mean_square * mean_square;
  return std::max(0.0, fourth_sum_ - 4 * mean.dot(weighted_sum_) + 2 * mean_square * square_sum_ + quadratic);
}

}  // namespace gradoracle
