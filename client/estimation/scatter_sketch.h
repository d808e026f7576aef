#ifndef GRADORACLE_CLIENT_ESTIMATION_SCATTER_SKETCH_H_
#define GRADORACLE_CLIENT_ESTIMATION_SCATTER_SKETCH_H_

#include <cstdint>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "client/estimation/frequent_directions.h"
#include "client/estimation/scatter_factor.h"
#include "core/regression_data.h"

namespace gradoracle {

// The scatter about the mean of a stream of gradients in O(l d) memory whatever their number, for d so large that no
// (d, d) matrix fits: Frequent Directions (frequent_directions.h) over rows that are centred exactly.
//
// Blocks of gradients are centred at their own mean, and each block adds one row
//   sqrt(|A||B| / (|A|+|B|)) (mean_B - mean_A)
// for its distance from the mean of all before it: by Chan's formula the outer products of these rows add up to the
// scatter about the final mean, so that the sketch's bound holds for the *centred* gradients. Blocks go in turn to 16
// sketches of l rows, in 8 pairs whose random differences give the error limit (split_limit.h); a 17th takes the rows
// between blocks. Not thread-safe.
class ScatterSketch {
 public:
  // Requires dimension >= 1, sketch_rows = l >= 1, expected_count >= 0 (0: unknown). The blocks have expected_count/16
  // gradients, at least 2 and at most max(l, 64).
  ScatterSketch(int64_t dimension, int64_t sketch_rows, int64_t expected_count);

  static double MemoryBytes(int64_t dimension, int64_t sketch_rows);

  // Adds gradients, shape (k, d). Errors: kInvalidArgument DIMENSION_MISMATCH, NOT_FINITE: nothing is added then.
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients);

  // Takes over what `other`, not this object itself, has gathered. Errors: kInvalidArgument DIMENSION_MISMATCH,
  // SKETCH_ROWS_MISMATCH.
  absl::Status Merge(const ScatterSketch& other);

  int64_t count() const { return closed_count_ + open_count_; }

  // At most l rows B, 0 <= scatter - B'B <= deficit I, and the norms of `draws` split differences with signs from
  // `generator`, taken among the sketches; none when no stream had 16 blocks. Requires count() >= 2.
  ScatterFactor Factor(absl::BitGenRef generator, int draws) const;

 private:
  static constexpr int kSlots = 8;
  static constexpr int kGroups = 2 * kSlots;

  struct Group {
    FrequentDirections sketch;
    int64_t degrees_of_freedom = 0;
  };

  void CloseBlock();
  void JoinClosed(int64_t count, const Eigen::VectorXd& mean);
  void AddSplitNorms(absl::BitGenRef generator, int draws, ScatterFactor& factor) const;

  int64_t block_size_;
  std::vector<Group> groups_;
  FrequentDirections between_;
  int64_t completed_blocks_ = 0;
  int64_t closed_count_ = 0;
  Eigen::VectorXd closed_mean_;
  RowMajorMatrix open_;  // (block_size, d): the block being filled
  int64_t open_count_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SCATTER_SKETCH_H_
