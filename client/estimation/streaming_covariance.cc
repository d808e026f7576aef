#include "client/estimation/streaming_covariance.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kDirectDimension = 256;  // up to here rows may be squared where they lie
constexpr int64_t kBufferRowsSmall = 191;  // with Chan's row one dsyrk call
constexpr int64_t kBufferRowsLarge = 512;
constexpr int64_t kBetweenRows = 64;
constexpr int64_t kDirectRows = 64;   // fewer rows at once make dsyrk memory-bound
constexpr int64_t kSampledRows = 8;   // to judge the spread of a piece
constexpr double kLargestRatio = 64;  // mean^2 / variance up to which rows are squared about zero

int64_t BufferRows(int64_t dimension);
void AddColumnSums(const Eigen::Ref<const RowMajorMatrix>& rows, double* sums);
bool MeanIsSmall(const Eigen::Ref<const RowMajorMatrix>& rows, const Eigen::VectorXd& sum);
absl::Status FirstNonFinite(const Eigen::Ref<const RowMajorMatrix>& gradients);
absl::Status CheckDimension(int64_t dimension, int64_t expected);
absl::Status CheckState(const StreamingCovariance::State& state);

}  // namespace

StreamingCovariance::StreamingCovariance(int64_t dimension, int64_t block_size)
    : block_size_(block_size),
      groups_(dimension),
      closed_mean_(Eigen::VectorXd::Zero(dimension)),
      between_(Eigen::MatrixXd::Zero(dimension, dimension)),
      between_rows_(kBetweenRows, dimension) {
  open_.buffer.resize(std::min(BufferRows(dimension), block_size) + 1, dimension);
  Start(open_, ScatterGroups::GroupOfBlock(0));
  SetBlasThreads(dimension);
}

double StreamingCovariance::MemoryBytes(int64_t dimension) {
  const double d = static_cast<double>(dimension);
  return sizeof(double) * (ScatterGroups::kSlots * d * (d + 1) + d * d + (kBufferRowsLarge + 1 + kBetweenRows) * d);
}

absl::Status StreamingCovariance::Add(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  GRADORACLE_RETURN_IF_ERROR(CheckDimension(gradients.cols(), dimension()));
  const int64_t rows = gradients.rows();
  if (rows == 0) return absl::OkStatus();

  // Pieces end where blocks end. Their sums are needed anyway, and are finite only if every entry is.
  const int64_t first_piece = std::min(rows, block_size_ - open_.count);
  const int64_t pieces = 1 + (rows - first_piece + block_size_ - 1) / block_size_;
  piece_sums_.setZero(dimension(), pieces);
  for (int64_t piece = 0, begin = 0, length = first_piece; piece < pieces; ++piece) {
    AddColumnSums(gradients.middleRows(begin, length), piece_sums_.col(piece).data());
    begin += length;
    length = std::min(block_size_, rows - begin);
  }
  if (!piece_sums_.allFinite()) return FirstNonFinite(gradients);

  for (int64_t piece = 0, begin = 0, length = first_piece; piece < pieces; ++piece) {
    const Triangle triangle = groups_.Group(open_.group);
    AppendPiece(gradients.middleRows(begin, length), piece_sums_.col(piece), triangle, open_);
    if (open_.count == block_size_) {
      const Eigen::VectorXd mean = Close(triangle, open_);
      groups_.AddDegreesOfFreedom(open_.group, block_size_ - 1);
      JoinClosed(block_size_, mean);
      ++completed_blocks_;
      Start(open_, ScatterGroups::GroupOfBlock(completed_blocks_));
    }
    begin += length;
    length = std::min(block_size_, rows - begin);
  }
  return absl::OkStatus();
}

absl::Status StreamingCovariance::Merge(const StreamingCovariance& other) {
  GRADORACLE_RETURN_IF_ERROR(CheckDimension(other.dimension(), dimension()));
  const int rotation = groups_.Merge(other.groups_);
  between_ += other.between_;
  for (int64_t row = 0; row < other.between_pending_; ++row) AddBetween(other.between_rows_.row(row));
  completed_blocks_ += other.completed_blocks_;
  JoinClosed(other.closed_count_, other.closed_mean_);
  if (other.open_.count > 0) {  // a short block of its own
    OpenBlock tail = other.open_;
    const int group = ScatterGroups::Rotated(tail.group, rotation);
    const Eigen::VectorXd mean = Close(groups_.Group(group), tail);
    groups_.AddDegreesOfFreedom(group, tail.count - 1);
    JoinClosed(tail.count, mean);
  }
  return absl::OkStatus();
}

StreamingCovariance::State StreamingCovariance::Save() const {
  State state;
  state.dimension = dimension();
  state.block_size = block_size_;
  state.completed_blocks = completed_blocks_;
  state.closed_count = closed_count_;
  state.closed_mean = closed_mean_;
  state.between = between_.triangularView<Eigen::Lower>();
  state.between_rows = between_rows_.topRows(between_pending_);
  for (int slot = 0; slot < ScatterGroups::kSlots; ++slot) state.slots.push_back(groups_.slot(slot));
  for (int group = 0; group < ScatterGroups::kGroups; ++group) {
    state.degrees_of_freedom.push_back(groups_.degrees_of_freedom(group));
  }
  state.open_group = open_.group;
  state.raw_count = open_.raw_count;
  state.raw_sum = open_.raw_sum;
  state.centred_count = open_.centred_count;
  state.centred_mean = open_.centred_mean;
  state.buffer = open_.buffer.topRows(open_.buffered);
  state.buffer_sum = open_.buffer_sum;
  return state;
}

absl::StatusOr<StreamingCovariance> StreamingCovariance::Restore(State state) {
  GRADORACLE_RETURN_IF_ERROR(CheckState(state));
  StreamingCovariance stream(state.dimension, state.block_size);
  stream.completed_blocks_ = state.completed_blocks;
  stream.closed_count_ = state.closed_count;
  stream.closed_mean_ = std::move(state.closed_mean);
  stream.between_ = std::move(state.between);
  stream.between_pending_ = state.between_rows.rows();
  stream.between_rows_.topRows(stream.between_pending_) = state.between_rows;
  for (int slot = 0; slot < ScatterGroups::kSlots; ++slot) stream.groups_.SetSlot(slot, std::move(state.slots[slot]));
  for (int group = 0; group < ScatterGroups::kGroups; ++group) {
    stream.groups_.AddDegreesOfFreedom(group, state.degrees_of_freedom[group]);
  }
  OpenBlock& open = stream.open_;
  Start(open, state.open_group);
  open.buffered = state.buffer.rows();
  open.buffer.topRows(open.buffered) = state.buffer;
  open.buffer_sum = std::move(state.buffer_sum);
  open.raw_count = state.raw_count;
  open.raw_sum = std::move(state.raw_sum);
  open.centred_count = state.centred_count;
  open.centred_mean = std::move(state.centred_mean);
  open.count = open.raw_count + open.centred_count + open.buffered;
  return stream;
}

Eigen::VectorXd StreamingCovariance::Mean() const {
  if (count() == 0) return closed_mean_;
  const Eigen::VectorXd open_sum =
      open_.buffer_sum + open_.raw_sum + static_cast<double>(open_.centred_count) * open_.centred_mean;
  const double total = static_cast<double>(count());
  // Not (sum + sum) / total: relative to the closed mean the correction is small, and so is its rounding error.
  return closed_mean_ + (open_sum - static_cast<double>(open_.count) * closed_mean_) / total;
}

Eigen::MatrixXd StreamingCovariance::Scatter() const {
  Eigen::MatrixXd scatter = between_;
  AddOuterProducts(between_rows_.topRows(between_pending_), LowerTriangle(scatter));
  groups_.AddTotal(scatter);
  if (open_.count > 0) {
    OpenBlock tail = open_;
    const Eigen::VectorXd mean = Close(LowerTriangle(scatter), tail);
    const double closed = static_cast<double>(closed_count_);
    const double open = static_cast<double>(open_.count);
    AddOuterProduct(closed * open / (closed + open), mean - closed_mean_, LowerTriangle(scatter));
  }
  scatter.triangularView<Eigen::StrictlyUpper>() = scatter.transpose();
  return scatter;
}

Eigen::MatrixXd StreamingCovariance::OpenScatter() const {
  Eigen::MatrixXd scatter = Eigen::MatrixXd::Zero(dimension(), dimension());
  OpenBlock tail = open_;
  Close(LowerTriangle(scatter), tail);
  return scatter;
}

void StreamingCovariance::Start(OpenBlock& block, int group) {
  const int64_t dimension = block.buffer.cols();
  block.group = group;
  block.count = block.raw_count = block.centred_count = block.buffered = 0;
  block.raw_sum.setZero(dimension);
  block.centred_mean.setZero(dimension);
  block.buffer_sum.setZero(dimension);
}

void StreamingCovariance::AppendPiece(const Eigen::Ref<const RowMajorMatrix>& rows, const Eigen::VectorXd& sum,
                                      Triangle triangle, OpenBlock& block) {
  block.count += rows.rows();
  if (rows.cols() <= kDirectDimension && rows.rows() >= kDirectRows && MeanIsSmall(rows, sum)) {
    AddOuterProducts(rows, triangle);
    block.raw_count += rows.rows();
    block.raw_sum += sum;
    return;
  }
  const int64_t capacity = block.buffer.rows() - 1;
  for (int64_t begin = 0; begin < rows.rows();) {
    const int64_t length = std::min(capacity - block.buffered, rows.rows() - begin);
    const auto part = rows.middleRows(begin, length);
    block.buffer.middleRows(block.buffered, length) = part;
    if (length == rows.rows()) {
      block.buffer_sum += sum;
    } else {
      AddColumnSums(part, block.buffer_sum.data());
    }
    block.buffered += length;
    begin += length;
    if (block.buffered == capacity) FlushBuffer(triangle, block);
  }
}

void StreamingCovariance::FlushBuffer(Triangle triangle, OpenBlock& block) {
  if (block.buffered == 0) return;
  const double before = static_cast<double>(block.centred_count);
  const double added = static_cast<double>(block.buffered);
  const Eigen::VectorXd mean = block.buffer_sum / added;
  block.buffer.topRows(block.buffered).rowwise() -= mean.transpose();
  if (block.centred_count > 0) {  // Chan's term travels as one more row of the same product
    block.buffer.row(block.buffered) =
        std::sqrt(before * added / (before + added)) * (mean - block.centred_mean).transpose();
    ++block.buffered;
  }
  AddOuterProducts(block.buffer.topRows(block.buffered), triangle);
  block.centred_count += static_cast<int64_t>(added);
  block.centred_mean += added / (before + added) * (mean - block.centred_mean);
  block.buffered = 0;
  block.buffer_sum.setZero();
}

Eigen::VectorXd StreamingCovariance::Close(Triangle triangle, OpenBlock& block) {
  FlushBuffer(triangle, block);
  if (block.raw_count == 0) return block.centred_mean;
  const double raw = static_cast<double>(block.raw_count);
  Eigen::VectorXd raw_mean = block.raw_sum / raw;
  AddOuterProduct(-raw, raw_mean, triangle);
  if (block.centred_count == 0) return raw_mean;
  const double centred = static_cast<double>(block.centred_count);
  const Eigen::VectorXd difference = block.centred_mean - raw_mean;
  AddOuterProduct(raw * centred / (raw + centred), difference, triangle);
  return raw_mean + centred / (raw + centred) * difference;
}

void StreamingCovariance::JoinClosed(int64_t count, const Eigen::VectorXd& mean) {
  if (count == 0) return;
  const double before = static_cast<double>(closed_count_);
  const double added = static_cast<double>(count);
  const Eigen::VectorXd difference = mean - closed_mean_;
  if (closed_count_ > 0) AddBetween(std::sqrt(before * added / (before + added)) * difference);
  closed_mean_ += added / (before + added) * difference;
  closed_count_ += count;
}

void StreamingCovariance::AddBetween(const Eigen::VectorXd& row) {
  // A rank-one update per block would cost as much memory traffic as the block's own dsyrk at large d: gather first.
  between_rows_.row(between_pending_++) = row.transpose();
  if (between_pending_ < kBetweenRows) return;
  AddOuterProducts(between_rows_, LowerTriangle(between_));
  between_pending_ = 0;
}

namespace {

int64_t BufferRows(int64_t dimension) { return dimension <= kDirectDimension ? kBufferRowsSmall : kBufferRowsLarge; }

// sums[j] += sum over rows of rows(., j), eight rows a pass: the running sums are then loaded and stored an eighth as
// often.
void AddColumnSums(const Eigen::Ref<const RowMajorMatrix>& rows, double* sums) {
  const int64_t dimension = rows.cols();
  const int64_t stride = rows.outerStride();
  const double* row = rows.data();
  int64_t remaining = rows.rows();
  for (; remaining >= 8; remaining -= 8, row += 8 * stride) {
    const double* __restrict r = row;
    double* __restrict s = sums;
    for (int64_t j = 0; j < dimension; ++j) {
      s[j] += ((r[j] + r[j + stride]) + (r[j + 2 * stride] + r[j + 3 * stride])) +
              ((r[j + 4 * stride] + r[j + 5 * stride]) + (r[j + 6 * stride] + r[j + 7 * stride]));
    }
  }
  for (; remaining > 0; --remaining, row += stride) {
    for (int64_t j = 0; j < dimension; ++j) sums[j] += row[j];
  }
}

// Whether squaring about zero is harmless: mean_j^2 <= 64 variance_j for every j, the variance judged from a few rows
// spread over the piece. If all the spread lay in those rows, the variance would be overstated by k / 8 <= 64: at most
// 12 bits are lost even then.
bool MeanIsSmall(const Eigen::Ref<const RowMajorMatrix>& rows, const Eigen::VectorXd& sum) {
  const int64_t step = rows.rows() / kSampledRows;
  Eigen::ArrayXd first = Eigen::ArrayXd::Zero(rows.cols());
  Eigen::ArrayXd second = Eigen::ArrayXd::Zero(rows.cols());
  const Eigen::ArrayXd origin = rows.row(0).transpose().array();
  for (int64_t sample = 1; sample < kSampledRows; ++sample) {
    const auto difference = rows.row(sample * step).transpose().array() - origin;
    first += difference;
    second += difference.square();
  }
  const auto variance = (second - first.square() / kSampledRows) / (kSampledRows - 1);
  return ((sum.array() / static_cast<double>(rows.rows())).square() <= kLargestRatio * variance).all();
}

absl::Status FirstNonFinite(const Eigen::Ref<const RowMajorMatrix>& gradients) {
  for (int64_t row = 0; row < gradients.rows(); ++row) {
    for (int64_t column = 0; column < gradients.cols(); ++column) {
      if (!std::isfinite(gradients(row, column))) {
        return InvalidField("NOT_FINITE", "gradients",
                            absl::StrCat("gradients: entry ", column, " of gradient ", row, " of this block is ",
                                         gradients(row, column), "; every entry must be finite"));
      }
    }
  }
  return InvalidField("NOT_FINITE", "gradients",
                      "gradients: entries so large that their sum overflows; their squares must fit a double");
}

absl::Status CheckDimension(int64_t dimension, int64_t expected) {
  if (dimension == expected) return absl::OkStatus();
  return InvalidField("DIMENSION_MISMATCH", "gradients",
                      absl::StrCat("gradients: dimension is ", dimension, ", but must be ", expected));
}

absl::Status CheckState(const StreamingCovariance::State& state) {
  const auto invalid = [](absl::string_view what) {
    return InvalidField("STATE_INVALID", "state", absl::StrCat("state: ", what, " contradicts the rest"));
  };
  const int64_t d = state.dimension;
  if (d < 1) return invalid("dimension");
  if (state.block_size < 2) return invalid("block_size");
  if (state.completed_blocks < 0 || state.completed_blocks > state.closed_count / 2) return invalid("completed_blocks");
  if (state.closed_mean.size() != d || !state.closed_mean.allFinite()) return invalid("closed_mean");
  if (state.between.rows() != d || state.between.cols() != d || !state.between.allFinite()) return invalid("between");
  if (state.between_rows.rows() >= kBetweenRows || state.between_rows.cols() != d || !state.between_rows.allFinite()) {
    return invalid("between_rows");
  }
  if (static_cast<int>(state.slots.size()) != ScatterGroups::kSlots) return invalid("slots");
  if (static_cast<int>(state.degrees_of_freedom.size()) != ScatterGroups::kGroups) return invalid("degrees_of_freedom");
  int64_t degrees_left = state.closed_count;
  for (int group = 0; group < ScatterGroups::kGroups; ++group) {
    const Eigen::MatrixXd& slot = state.slots[group / 2];
    if (slot.size() != 0 && (slot.rows() != d + 1 || slot.cols() != d || !slot.allFinite())) return invalid("slots");
    const int64_t degrees = state.degrees_of_freedom[group];
    if (degrees < 0 || degrees > degrees_left || (degrees > 0 && slot.size() == 0)) {
      return invalid("degrees_of_freedom");
    }
    degrees_left -= degrees;
  }
  if (state.open_group < 0 || state.open_group >= ScatterGroups::kGroups) return invalid("open_group");
  if (state.raw_count < 0 || state.raw_sum.size() != d || !state.raw_sum.allFinite()) return invalid("raw_sum");
  if (state.centred_count < 0 || state.centred_mean.size() != d || !state.centred_mean.allFinite()) {
    return invalid("centred_mean");
  }
  const int64_t buffered = state.buffer.rows();
  if (buffered >= std::min(BufferRows(d), state.block_size) || state.buffer.cols() != d || !state.buffer.allFinite() ||
      state.buffer_sum.size() != d || !state.buffer_sum.allFinite()) {
    return invalid("buffer");
  }
  // Each below the block size, so that their sum cannot overflow.
  if (state.raw_count >= state.block_size || state.centred_count >= state.block_size ||
      state.raw_count + state.centred_count + buffered >= state.block_size) {
    return invalid("block_size");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace gradoracle
