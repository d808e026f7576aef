#ifndef GRADORACLE_CLIENT_ESTIMATION_SCATTER_GROUPS_H_
#define GRADORACLE_CLIENT_ESTIMATION_SCATTER_GROUPS_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "Eigen/Core"
#include "absl/types/span.h"
#include "client/estimation/blas.h"

namespace gradoracle {

// The scatter of a stream of gradients, kept apart in 32 groups of blocks, so that random differences of halves of the
// stream can be drawn afterwards [theory 1.3, streaming form].
//
// Blocks come in pairs (a, b). Pair p belongs to slot p mod 16, and its two blocks go to the slot's two groups, in an
// order that alternates from one round of slots to the next (a drift along the stream then cancels). The theory's form
// keeps R running sums of e_r (S_a - S_b); since pairs are independent, one sum per slot and signs drawn at the end
// have the same law, with no d^2 addition at all: `syrk` adds a block straight into its group. The two triangles of a
// slot share one (d + 1, d) array: 16 d (d + 1) doubles in all, allocated slot by slot at first use.
class ScatterGroups {
 public:
  static constexpr int kSlots = 16;
  static constexpr int kGroups = 2 * kSlots;

  // Group of block number `block` = 0, 1, 2 ... of a stream. Groups 2s and 2s + 1 form slot s.
  static int GroupOfBlock(int64_t block);

  explicit ScatterGroups(int64_t dimension) : dimension_(dimension) {}

  int64_t dimension() const { return dimension_; }

  // Scatter of one group; valid until the object is moved.
  Triangle Group(int group);

  // Degrees of freedom gathered: the sum over its blocks of (gradients - 1), as each block is centred at its own mean.
  int64_t degrees_of_freedom(int group) const { return degrees_of_freedom_[group]; }
  void AddDegreesOfFreedom(int group, int64_t degrees) { degrees_of_freedom_[group] += degrees; }

  // Slot s = 0 .. kSlots - 1 as it lies in memory, see slots_; (0, 0) until used. For writing it down and taking it up.
  const Eigen::MatrixXd& slot(int slot) const { return slots_[slot]; }
  // Requires shape (d + 1, d) or (0, 0).
  void SetSlot(int slot, Eigen::MatrixXd packed) { slots_[slot] = std::move(packed); }

  // Adds another stream's groups, slot s to slot (s + rotation) % kSlots, and returns the rotation: the one that fills
  // the most free slots, so that many short streams tell as much as a long one. Requires the same dimension.
  int Merge(const ScatterGroups& other);
  static int Rotated(int group, int rotation) { return (group + 2 * rotation) % kGroups; }

  // lower += sum over all groups; only the lower triangle of `lower`, shape (d, d), is touched.
  void AddTotal(Eigen::MatrixXd& lower) const;

  // lower (its lower triangle) = sum over groups of weights[group] * scatter. weights: kGroups numbers.
  void WeightedSum(absl::Span<const double> weights, Eigen::MatrixXd& lower) const;

 private:
  int64_t dimension_;
  // Slot s: column-major (d + 1, d). Rows 1..d of column j hold the lower triangle of group 2s, element (i, j) in row
  // i + 1 > j; rows 0..j the upper triangle of group 2s + 1. Empty until used.
  std::array<Eigen::MatrixXd, kSlots> slots_;
  std::array<int64_t, kGroups> degrees_of_freedom_{};
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SCATTER_GROUPS_H_
