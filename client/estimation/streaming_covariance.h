#ifndef GRADORACLE_CLIENT_ESTIMATION_STREAMING_COVARIANCE_H_
#define GRADORACLE_CLIENT_ESTIMATION_STREAMING_COVARIANCE_H_

#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/estimation/scatter_groups.h"
#include "core/regression_data.h"

namespace gradoracle {

// Count, mean and scatter about the mean of a stream of gradients, in O(d^2) memory whatever their number:
//   mean = (1/m) sum g_k,   scatter = sum (g_k - mean)(g_k - mean)'.
// The stream is cut into blocks of `block_size` gradients, each centred at its own mean; block scatters are kept in the
// groups that the error bar needs (scatter_groups.h), and the scatter between blocks is added by Chan's formula
//   scatter(A u B) = scatter(A) + scatter(B) + |A||B|/(|A|+|B|) (mean_B - mean_A)(mean_B - mean_A)'
// [Chan, Golub, LeVeque 1979]. Rows are never squared about a far-off point, so nothing cancels when mean >> deviation.
// Blocks are cut by counting: the result does not depend on how the stream was chunked, up to rounding. Not
// thread-safe.
//
// Speed: blocks go through OpenBLAS `dsyrk`. Up to d = 256 rows are read where they lie, without a copy, when at least
// 64 come together and their mean is within 8 standard deviations of zero (centring afterwards then loses at most 6
// bits of 52). Otherwise they are copied to a buffer and centred there: beyond d = 256 that is cheaper than centring
// afterwards, a pass over d^2 numbers. Feed it chunks that fit a cache (256 KiB): each is read twice.
class StreamingCovariance {
 public:
  // Requires dimension >= 1, block_size >= 2.
  StreamingCovariance(int64_t dimension, int64_t block_size);

  // Peak bytes for `dimension`, all groups in use: (16 + 1) d^2 doubles and at most 577 rows.
  static double MemoryBytes(int64_t dimension);

  // Adds gradients, shape (k, d), k >= 0. Errors: kInvalidArgument DIMENSION_MISMATCH; NOT_FINITE naming the first such
  // gradient of the chunk (nothing of the chunk is added then).
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients);

  // Takes over what `other`, not this object itself, has gathered; the block sizes may differ.
  // Errors: kInvalidArgument DIMENSION_MISMATCH.
  absl::Status Merge(const StreamingCovariance& other);

  // All it holds, as plain values. Restore(Save()) goes on bit for bit as if it had never stopped.
  struct State {
    int64_t dimension = 0;                    // >= 1
    int64_t block_size = 0;                   // >= 2
    int64_t completed_blocks = 0;             // of this stream, not of those merged into it
    int64_t closed_count = 0;                 // gradients in closed blocks
    Eigen::VectorXd closed_mean;              // (d), theirs
    Eigen::MatrixXd between;                  // (d, d): scatter between closed blocks, lower triangle, zero above
    RowMajorMatrix between_rows;              // (k, d): outer products that still belong to it
    std::vector<Eigen::MatrixXd> slots;       // ScatterGroups::kSlots of shape (d + 1, d), or (0, 0)
    std::vector<int64_t> degrees_of_freedom;  // ScatterGroups::kGroups
    // The block being filled: gradients already in its group about zero, about their own mean, and not yet there.
    int open_group = 0;
    int64_t raw_count = 0;
    Eigen::VectorXd raw_sum;  // (d)
    int64_t centred_count = 0;
    Eigen::VectorXd centred_mean;  // (d)
    RowMajorMatrix buffer;         // (k, d)
    Eigen::VectorXd buffer_sum;    // (d)
  };
  State Save() const;
  // Errors: kInvalidArgument STATE_INVALID (shapes or counts that contradict each other, non-finite entries).
  static absl::StatusOr<StreamingCovariance> Restore(State state);

  int64_t dimension() const { return groups_.dimension(); }
  int64_t count() const { return closed_count_ + open_.count; }
  Eigen::VectorXd Mean() const;     // (d); zero when count is 0
  Eigen::MatrixXd Scatter() const;  // (d, d), symmetric
  int64_t completed_blocks() const { return completed_blocks_; }

  // For the error bar: groups of completed blocks, and the block being filled, which belongs to group open_group().
  const ScatterGroups& groups() const { return groups_; }
  int open_group() const { return open_.group; }
  int64_t open_count() const { return open_.count; }
  // What must be added to open_group()'s triangle to make it complete; the lower triangle of a (d, d) matrix.
  Eigen::MatrixXd OpenScatter() const;

 private:
  // The block being filled. Its gradients are in one of three places: `raw`, added to the group about zero;
  // `centred`, added to the group about their own mean; `buffer`, not added yet.
  struct OpenBlock {
    int group = 0;
    int64_t count = 0;
    int64_t raw_count = 0;
    Eigen::VectorXd raw_sum;
    int64_t centred_count = 0;
    Eigen::VectorXd centred_mean;
    int64_t buffered = 0;
    Eigen::VectorXd buffer_sum;
    RowMajorMatrix buffer;  // one spare row for Chan's term
  };

  static void Start(OpenBlock& block, int group);
  static void AppendPiece(const Eigen::Ref<const RowMajorMatrix>& rows, const Eigen::VectorXd& sum, Triangle triangle,
                          OpenBlock& block);
  static void FlushBuffer(Triangle triangle, OpenBlock& block);
  // Completes `triangle` with what is missing of the block's scatter about its own mean; returns that mean.
  static Eigen::VectorXd Close(Triangle triangle, OpenBlock& block);

  // Chan's term of a set of `count` gradients with mean `mean` against all closed ones, and its count and mean.
  void JoinClosed(int64_t count, const Eigen::VectorXd& mean);
  void AddBetween(const Eigen::VectorXd& row);

  int64_t block_size_;
  ScatterGroups groups_;
  OpenBlock open_;
  int64_t completed_blocks_ = 0;

  int64_t closed_count_ = 0;
  Eigen::VectorXd closed_mean_;
  Eigen::MatrixXd between_;      // (d, d), lower triangle: scatter between closed blocks, without the pending rows
  int64_t between_pending_ = 0;  // rows of between_rows_ in use
  RowMajorMatrix between_rows_;  // sum of their outer products belongs to between_

  Eigen::MatrixXd piece_sums_;  // scratch of Add: (d, pieces)
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_STREAMING_COVARIANCE_H_
