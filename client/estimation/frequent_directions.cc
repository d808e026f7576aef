#include "client/estimation/frequent_directions.h"

#include <algorithm>
#include <utility>

#include "client/estimation/row_rotation.h"

namespace gradoracle {

FrequentDirections::FrequentDirections(int64_t dimension, int64_t sketch_rows)
    : sketch_rows_(sketch_rows), rows_(0, dimension) {}

void FrequentDirections::Add(const Eigen::Ref<const RowMajorMatrix>& rows) {
  square_norm_ += rows.squaredNorm();
  for (int64_t begin = 0; begin < rows.rows();) {
    // At most 2l rows at once: half as many operations a row as l + 1 at once, and the memory stays in proportion.
    const int64_t length = std::min(2 * sketch_rows_ - rows_.rows(), rows.rows() - begin);
    RowMajorMatrix stack(rows_.rows() + length, rows.cols());
    stack.topRows(rows_.rows()) = rows_;
    stack.bottomRows(length) = rows.middleRows(begin, length);
    begin += length;
    if (stack.rows() <= sketch_rows_) {
      rows_ = std::move(stack);
      continue;
    }
    const GramEigen gram = DecomposeGram(stack);
    const double subtracted = gram.squares.size() > sketch_rows_ ? gram.squares(sketch_rows_) : 0;
    const int64_t kept = (gram.squares.head(std::min(sketch_rows_, gram.squares.size())).array() > subtracted).count();
    RotateRows(gram, kept, subtracted, stack);
    rows_ = stack.topRows(kept);
    deficit_ += subtracted;
  }
}

void FrequentDirections::Merge(const FrequentDirections& other) {
  const double square_norm = square_norm_ + other.square_norm_;
  Add(other.rows_);
  square_norm_ = square_norm;
  deficit_ += other.deficit_;
}

void FrequentDirections::Orthogonalise() {
  const GramEigen gram = DecomposeGram(rows_);
  RotateRows(gram, gram.squares.size(), 0, rows_);
  rows_.conservativeResize(gram.squares.size(), Eigen::NoChange);
}

}  // namespace gradoracle
