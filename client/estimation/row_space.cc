#include "client/estimation/row_space.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/random/uniform_int_distribution.h"
#include "absl/strings/str_cat.h"
#include "client/estimation/blas.h"
#include "client/estimation/row_rotation.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr int64_t kFewestForSplit = 16;

Eigen::VectorXd BalancedSigns(int64_t count, absl::BitGenRef generator);

}  // namespace

double RowSpace::MemoryBytes(int64_t dimension, int64_t capacity) {
  const double d = static_cast<double>(dimension);
  const double m = static_cast<double>(capacity);
  return sizeof(double) * (m * d + 4 * m * m + 1024 * m + 4 * d);
}

absl::Status RowSpace::Add(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  if (gradients.cols() != gradients_.cols()) {
    return InvalidField(
        "DIMENSION_MISMATCH", "gradients",
        absl::StrCat("gradients: dimension is ", gradients.cols(), ", but must be ", gradients_.cols()));
  }
  if (count_ + gradients.rows() > gradients_.rows()) {
    return FieldOutOfRange("COUNT_TOO_LARGE", "count",
                           absl::StrCat("count: more gradients came than the ", gradients_.rows(),
                                        " that were announced; the form row_space keeps them all"));
  }
  if (!gradients.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: every entry must be finite");
  }
  gradients_.middleRows(count_, gradients.rows()) = gradients;
  count_ += gradients.rows();
  return absl::OkStatus();
}

ScatterFactor RowSpace::TakeFactor(absl::BitGenRef generator, int draws) {
  SetBlasThreads(gradients_.cols());
  ScatterFactor factor;
  factor.count = count_;
  auto rows = gradients_.topRows(count_);
  factor.mean = rows.colwise().mean();
  rows.rowwise() -= factor.mean.transpose();
  factor.trace = rows.squaredNorm();

  const GramEigen gram = DecomposeGram(rows);
  const int64_t rank = gram.squares.size();
  if (count_ >= kFewestForSplit) {
    // Centred AA' = U diag(squares) U': the rows of U diag(sqrt) are the gradients' coordinates in their own space.
    const Eigen::MatrixXd coordinates = gram.eigenvectors * gram.squares.cwiseSqrt().asDiagonal();
    for (int draw = 0; draw < draws; ++draw) {
      const Eigen::VectorXd signs = BalancedSigns(count_, generator);
      factor.split_norms.push_back(WeightedGramNorm(coordinates, signs) / static_cast<double>(count_));
    }
  }
  RotateRows(gram, rank, 0, rows);
  gradients_.conservativeResize(rank, Eigen::NoChange);
  factor.rows = std::move(gradients_);
  gradients_.resize(0, factor.rows.cols());
  count_ = 0;
  return factor;
}

namespace {

// As many +1 as -1 in random order; of an odd number one more of either.
Eigen::VectorXd BalancedSigns(int64_t count, absl::BitGenRef generator) {
  Eigen::VectorXd signs(count);
  for (int64_t k = 0; k < count; ++k) signs(k) = k % 2 == 0 ? 1 : -1;
  for (int64_t k = count - 1; k > 0; --k) {
    std::swap(signs(k), signs(absl::uniform_int_distribution<int64_t>(0, k)(generator)));
  }
  if (absl::uniform_int_distribution<int>(0, 1)(generator) == 0) signs = -signs;
  return signs;
}

}  // namespace
}  // namespace gradoracle
