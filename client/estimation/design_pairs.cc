#include "client/estimation/design_pairs.h"

#include <cmath>
#include <limits>

#include "Eigen/QR"
#include "absl/random/gaussian_distribution.h"
#include "absl/random/uniform_int_distribution.h"

namespace gradoracle {
namespace {

Eigen::MatrixXd RandomFrame(int64_t dimension, absl::BitGenRef generator) {
  absl::gaussian_distribution<double> normal;
  Eigen::MatrixXd gaussian(dimension, dimension);
  for (Eigen::Index i = 0; i < gaussian.size(); ++i) gaussian.data()[i] = normal(generator);
  // The signs of the columns, not uniform here, do not matter: each is used with both.
  Eigen::MatrixXd frame = Eigen::HouseholderQR<Eigen::MatrixXd>(gaussian).householderQ();
  frame.colwise().normalize();  // to the last bit, so that R q_j is within the limit on norms
  return frame;
}

}  // namespace

DesignPairs::DesignPairs(int64_t dimension, double radius, absl::BitGenRef generator)
    : radius_(radius),
      frame_(RandomFrame(dimension, generator)),
      sums_(kBlocks, Eigen::MatrixXd::Zero(dimension, dimension)),
      midpoint_mean_(Eigen::VectorXd::Zero(dimension)) {
  counts_.setZero(kBlocks, dimension);
}

void DesignPairs::Add(int64_t direction, const RowMajorMatrix& plus, const RowMajorMatrix& minus) {
  for (Eigen::Index k = 0; k < plus.rows(); ++k) {
    const int block = static_cast<int>(pairs(direction) % kBlocks);
    sums_[block].col(direction) += ((plus.row(k) - minus.row(k)) / (2 * radius_)).transpose();
    ++counts_(block, direction);
    ++pairs_;
    const Eigen::VectorXd midpoint = ((plus.row(k) + minus.row(k)) / 2).transpose();
    const Eigen::VectorXd before = midpoint - midpoint_mean_;
    midpoint_mean_ += before / static_cast<double>(pairs_);
    midpoint_squares_ += before.dot(midpoint - midpoint_mean_);
  }
}

int64_t DesignPairs::fewest_pairs() const { return counts_.colwise().sum().minCoeff(); }

double DesignPairs::MidpointTrace() const { return 2 * midpoint_squares_ / static_cast<double>(pairs_ - 1); }

double DesignPairs::Trace() const {
  double sum = 0;
  int64_t directions = 0;
  for (int64_t j = 0; j < dimension(); ++j) {
    const int64_t count = pairs(j);
    if (count == 0) continue;
    double form = 0;
    for (const Eigen::MatrixXd& block : sums_) form += frame_.col(j).dot(block.col(j));
    sum += form / static_cast<double>(count);
    ++directions;
  }
  return sum * static_cast<double>(dimension()) / static_cast<double>(directions);
}

Eigen::MatrixXd DesignPairs::Hessian() const {
  Eigen::MatrixXd means = sums_.front();
  for (int block = 1; block < kBlocks; ++block) means += sums_[block];
  for (int64_t j = 0; j < dimension(); ++j) means.col(j) /= static_cast<double>(pairs(j));
  const Eigen::MatrixXd hessian = means * frame_.transpose();
  return 0.5 * (hessian + hessian.transpose());
}

void DesignPairs::DrawDifference(absl::BitGenRef generator, Eigen::MatrixXd& lower) const {
  Eigen::MatrixXd errors = Eigen::MatrixXd::Zero(dimension(), dimension());
  for (int64_t j = 0; j < dimension(); ++j) {
    double paired = 0;
    for (int a = 0; a < kBlocks; a += 2) {
      const double count_a = static_cast<double>(counts_(a, j));
      const double count_b = static_cast<double>(counts_(a + 1, j));
      if (count_a == 0 || count_b == 0) continue;
      paired += count_a + count_b;
      const double sign = absl::uniform_int_distribution<int>(0, 1)(generator) == 0 ? 1 : -1;
      errors.col(j) +=
          sign * (std::sqrt(count_b / count_a) * sums_[a].col(j) - std::sqrt(count_a / count_b) * sums_[a + 1].col(j));
    }
    errors.col(j) /= std::sqrt(paired * static_cast<double>(pairs(j)));
  }
  const Eigen::MatrixXd difference = errors * frame_.transpose();
  lower = 0.5 * (difference + difference.transpose());
}

}  // namespace gradoracle
