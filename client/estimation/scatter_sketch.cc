#include "client/estimation/scatter_sketch.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "Eigen/Cholesky"
#include "absl/random/uniform_int_distribution.h"
#include "absl/strings/str_cat.h"
#include "client/estimation/blas.h"
#include "client/estimation/row_rotation.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr int64_t kLargestBlockSize = 64;

int64_t BlockSize(int64_t sketch_rows, int64_t expected_count, int groups);

}  // namespace

ScatterSketch::ScatterSketch(int64_t dimension, int64_t sketch_rows, int64_t expected_count)
    : block_size_(BlockSize(sketch_rows, expected_count, kGroups)),
      groups_(kGroups, Group{FrequentDirections(dimension, sketch_rows)}),
      between_(dimension, sketch_rows),
      closed_mean_(Eigen::VectorXd::Zero(dimension)),
      open_(block_size_, dimension) {
  SetBlasThreads(dimension);
}

double ScatterSketch::MemoryBytes(int64_t dimension, int64_t sketch_rows) {
  const double d = static_cast<double>(dimension);
  const double l = static_cast<double>(sketch_rows);
  const double block = std::max(l, static_cast<double>(kLargestBlockSize));
  // The groups and the one between, a block, a stack of 2l rows while it is reduced, the result; and for the error
  // limit all groups' rows once more with the triangle of their Gram matrix and a work copy.
  const double rows = (kGroups + 1) * l + block + 3 * l + kGroups * l;
  return sizeof(double) * (rows * d + 2 * kGroups * l * kGroups * l + 4 * d);
}

absl::Status ScatterSketch::Add(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  if (gradients.cols() != open_.cols()) {
    return InvalidField("DIMENSION_MISMATCH", "gradients",
                        absl::StrCat("gradients: dimension is ", gradients.cols(), ", but must be ", open_.cols()));
  }
  if (!gradients.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: every entry must be finite");
  }
  for (int64_t begin = 0; begin < gradients.rows();) {
    const int64_t length = std::min(block_size_ - open_count_, gradients.rows() - begin);
    open_.middleRows(open_count_, length) = gradients.middleRows(begin, length);
    open_count_ += length;
    begin += length;
    if (open_count_ == block_size_) CloseBlock();
  }
  return absl::OkStatus();
}

absl::Status ScatterSketch::Merge(const ScatterSketch& other) {
  if (other.open_.cols() != open_.cols()) {
    return InvalidField("DIMENSION_MISMATCH", "gradients",
                        absl::StrCat("gradients: dimension is ", other.open_.cols(), ", but must be ", open_.cols()));
  }
  if (other.between_.sketch_rows() != between_.sketch_rows()) {
    return InvalidField("SKETCH_ROWS_MISMATCH", "sketch_rows",
                        absl::StrCat("sketch_rows: a sketch of ", other.between_.sketch_rows(),
                                     " rows cannot be merged with one of ", between_.sketch_rows()));
  }
  for (int group = 0; group < kGroups; ++group) {
    groups_[group].sketch.Merge(other.groups_[group].sketch);
    groups_[group].degrees_of_freedom += other.groups_[group].degrees_of_freedom;
  }
  between_.Merge(other.between_);
  JoinClosed(other.closed_count_, other.closed_mean_);
  return other.open_count_ == 0 ? absl::OkStatus() : Add(other.open_.topRows(other.open_count_));
}

ScatterFactor ScatterSketch::Factor(absl::BitGenRef generator, int draws) const {
  if (open_count_ > 0) {  // a short block of its own, in a copy
    ScatterSketch closed = *this;
    closed.CloseBlock();
    return closed.Factor(generator, draws);
  }
  ScatterFactor factor;
  factor.count = closed_count_;
  factor.mean = closed_mean_;
  AddSplitNorms(generator, draws, factor);
  FrequentDirections all = between_;
  for (const Group& group : groups_) all.Merge(group.sketch);
  all.Orthogonalise();
  factor.rows = all.rows();
  factor.trace = all.square_norm();
  factor.deficit = all.deficit();
  return factor;
}

void ScatterSketch::CloseBlock() {
  const int64_t pair = completed_blocks_ / 2;
  const int64_t slot = pair % kSlots;
  const int64_t round = pair / kSlots;
  // The order within a pair alternates from round to round, so that a drift along the stream cancels.
  Group& group = groups_[2 * slot + ((completed_blocks_ + round) & 1)];
  auto block = open_.topRows(open_count_);
  const Eigen::VectorXd mean = block.colwise().mean();
  block.rowwise() -= mean.transpose();
  group.sketch.Add(block);
  group.degrees_of_freedom += open_count_ - 1;
  JoinClosed(open_count_, mean);
  ++completed_blocks_;
  open_count_ = 0;
}

void ScatterSketch::JoinClosed(int64_t count, const Eigen::VectorXd& mean) {
  if (count == 0) return;
  const double before = static_cast<double>(closed_count_);
  const double added = static_cast<double>(count);
  const Eigen::VectorXd difference = mean - closed_mean_;
  if (closed_count_ > 0) between_.Add(std::sqrt(before * added / (before + added)) * difference.transpose());
  closed_mean_ += added / (before + added) * difference;
  closed_count_ += count;
}

// As SplitDifferenceNorms (split_limit.h) with the groups' scatters replaced by their sketches: T_q is then off by at
// most the larger of its two deficits, as both are one-sided; split_deficit is their sum over slots.
void ScatterSketch::AddSplitNorms(absl::BitGenRef generator, int draws, ScatterFactor& factor) const {
  std::array<double, kGroups> factors{};
  double degrees = 0;
  int64_t rows = 0;
  for (int group = 0; group < kGroups; group += 2) {
    const double first = static_cast<double>(groups_[group].degrees_of_freedom);
    const double second = static_cast<double>(groups_[group + 1].degrees_of_freedom);
    if (first == 0 || second == 0) return;  // all 8 slots are needed
    factors[group] = std::sqrt(second / first);
    factors[group + 1] = -std::sqrt(first / second);
    degrees += first + second;
  }
  for (const Group& group : groups_) rows += group.sketch.rows().rows();
  if (rows == 0) return;
  // A block's own mean takes its share of every fourth power.
  factor.kurtosis_share = 1 - 1 / static_cast<double>(block_size_);

  RowMajorMatrix stack(rows, open_.cols());
  std::array<int64_t, kGroups> begins{};
  int64_t begin = 0;
  for (int group = 0; group < kGroups; ++group) {
    begins[group] = begin;
    stack.middleRows(begin, groups_[group].sketch.rows().rows()) = groups_[group].sketch.rows();
    begin += groups_[group].sketch.rows().rows();
  }
  Eigen::MatrixXd gram(rows, rows);
  GramMatrix(stack, gram);
  stack.resize(0, 0);
  // Cholesky's factor serves as coordinates of the rows; what is added to the diagonal is lost among rounding errors.
  gram.diagonal().array() += 1e-13 * gram.trace();
  const Eigen::MatrixXd coordinates = Eigen::LLT<Eigen::MatrixXd>(gram).matrixL();

  const double scale = 1 / std::sqrt(degrees * static_cast<double>(closed_count_ - 1));
  for (int group = 0; group < kGroups; group += 2) {
    factor.split_deficit += scale * std::max(std::abs(factors[group]) * groups_[group].sketch.deficit(),
                                             std::abs(factors[group + 1]) * groups_[group + 1].sketch.deficit());
  }
  Eigen::VectorXd weights(rows);
  for (int draw = 0; draw < draws; ++draw) {
    for (int group = 0; group < kGroups; group += 2) {
      const double sign = absl::uniform_int_distribution<int>(0, 1)(generator) == 0 ? scale : -scale;
      for (const int side : {group, group + 1}) {
        weights.segment(begins[side], groups_[side].sketch.rows().rows()).setConstant(sign * factors[side]);
      }
    }
    factor.split_norms.push_back(WeightedGramNorm(coordinates, weights));
  }
}

namespace {

int64_t BlockSize(int64_t sketch_rows, int64_t expected_count, int groups) {
  const int64_t largest = std::max(sketch_rows, kLargestBlockSize);
  if (expected_count == 0) return largest;
  return std::clamp<int64_t>(expected_count / groups, 2, largest);
}

}  // namespace
}  // namespace gradoracle
