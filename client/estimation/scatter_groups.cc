#include "client/estimation/scatter_groups.h"

namespace gradoracle {

int ScatterGroups::GroupOfBlock(int64_t block) {
  const int64_t pair = block / 2;
  const int64_t slot = pair % kSlots;
  const int64_t round = pair / kSlots;
  return static_cast<int>(2 * slot + ((block + round) & 1));
}

Triangle ScatterGroups::Group(int group) {
  Eigen::MatrixXd& slot = slots_[group / 2];
  if (slot.size() == 0) slot.setZero(dimension_ + 1, dimension_);
  const bool lower = group % 2 == 0;
  return {slot.data() + (lower ? 1 : 0), dimension_ + 1, lower};
}

int ScatterGroups::Merge(const ScatterGroups& other) {
  int best = 0;
  int fewest = kSlots + 1;
  for (int rotation = 0; rotation < kSlots; ++rotation) {
    int shared = 0;
    for (int slot = 0; slot < kSlots; ++slot) {
      shared += other.slots_[slot].size() > 0 && slots_[(slot + rotation) % kSlots].size() > 0 ? 1 : 0;
    }
    if (shared >= fewest) continue;
    fewest = shared;
    best = rotation;
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    if (other.slots_[slot].size() == 0) continue;
    Eigen::MatrixXd& ours = slots_[(slot + best) % kSlots];
    if (ours.size() == 0) {
      ours = other.slots_[slot];
    } else {
      ours += other.slots_[slot];
    }
  }
  for (int group = 0; group < kGroups; ++group) {
    degrees_of_freedom_[Rotated(group, best)] += other.degrees_of_freedom_[group];
  }
  return best;
}

void ScatterGroups::AddTotal(Eigen::MatrixXd& lower) const {
  Eigen::MatrixXd total(dimension_, dimension_);
  const std::array<double, kGroups> ones = [] {
    std::array<double, kGroups> weights;
    weights.fill(1.0);
    return weights;
  }();
  WeightedSum(ones, total);
  lower.triangularView<Eigen::Lower>() += total;
}

void ScatterGroups::WeightedSum(absl::Span<const double> weights, Eigen::MatrixXd& lower) const {
  // Sum the packed slots first, column by column, and unpack once: the transposed access of unpacking is slow.
  Eigen::MatrixXd packed = Eigen::MatrixXd::Zero(dimension_ + 1, dimension_);
  for (int slot = 0; slot < kSlots; ++slot) {
    if (slots_[slot].size() == 0) continue;
    const double lower_weight = weights[2 * slot];
    const double upper_weight = weights[2 * slot + 1];
    for (int64_t column = 0; column < dimension_; ++column) {
      const int64_t upper_rows = column + 1;
      packed.col(column).head(upper_rows) += upper_weight * slots_[slot].col(column).head(upper_rows);
      packed.col(column).tail(dimension_ - column) += lower_weight * slots_[slot].col(column).tail(dimension_ - column);
    }
  }
  for (int64_t column = 0; column < dimension_; ++column) {
    for (int64_t row = column; row < dimension_; ++row) {
      lower(row, column) = packed(row + 1, column) + packed(column, row);
    }
  }
}

}  // namespace gradoracle
