#ifndef GRADORACLE_CLIENT_ESTIMATION_GRADIENT_TRIMMER_H_
#define GRADORACLE_CLIENT_ESTIMATION_GRADIENT_TRIMMER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/gradient_source.h"
#include "core/regression_data.h"

namespace gradoracle {

// Leaves out the share P of a stream's gradients that lie farthest from its centre, and passes the others on: for an
// oracle or a link that sometimes sends nonsense. Where all gradients are honest it gains nothing and costs
// bias: rare features live in the gradients it drops, so that their entries of the covariance shrink. Prefer the known
// unit diagonal where there is one, which mends their diagonal [estimators on real data, D].
//
// Distance is (g - c)'M^-1(g - c): c the coordinates' median and M the Ledoit-Wolf covariance of the inner part of a
// pilot of the first max(256, 2d) gradients. Exactly the ceil(P m) farthest of all m gradients are dropped: that many
// are held back at any time, and the nearest of them is let through whenever a farther one comes. So the order of what
// is passed on differs a little from what came. Memory: 8 (P m d + max(256, 2d) d + 3 d^2) bytes. Not thread-safe.
class GradientTrimmer {
 public:
  struct Options {
    double fraction = 0;         // P, above 0 and at most 0.25; more than the share of faulty gradients to be expected
    int64_t batch_size = 0;      // n >= 32: gradients of smaller batches have heavy tails of their own
    int64_t expected_count = 0;  // m >= 2
  };

  // Errors: kInvalidArgument DIMENSION_NOT_POSITIVE, TRIM_OUT_OF_RANGE, TRIM_BATCH_SIZE, COUNT_NOT_POSITIVE;
  // kResourceExhausted MEMORY_EXCEEDED.
  static absl::StatusOr<GradientTrimmer> Create(int64_t dimension, const Options& options);

  // Takes gradients, shape (k, d), finite, at most expected_count in all, and passes on those that are sure to stay.
  // Errors: kInvalidArgument DIMENSION_MISMATCH, NOT_FINITE; kOutOfRange COUNT_TOO_LARGE; those of `sink`.
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients, GradientSink sink);

  // The end of the stream, which may have come early: passes on all but the ceil(P m) farthest. Call once.
  absl::Status Finish(GradientSink sink);

  int64_t count() const { return count_; }      // gradients taken
  int64_t dropped() const { return dropped_; }  // after Finish

 private:
  GradientTrimmer(int64_t dimension, const Options& options);

  absl::Status EndPilot(GradientSink sink);
  absl::Status Pass(const Eigen::Ref<const RowMajorMatrix>& gradients, GradientSink sink);
  Eigen::VectorXd Distances(const Eigen::Ref<const RowMajorMatrix>& gradients) const;

  Options options_;
  int64_t count_ = 0;
  int64_t dropped_ = 0;
  RowMajorMatrix pilot_;  // the first gradients, until there are enough of them; then empty
  int64_t pilot_count_ = 0;
  bool piloting_ = true;
  Eigen::VectorXd centre_;                        // c
  Eigen::MatrixXd factor_;                        // L, lower triangular: M = L L'
  RowMajorMatrix held_;                           // (capacity, d): the farthest gradients so far
  std::vector<std::pair<double, int64_t>> heap_;  // distance and row of held_, nearest first
};

// What to multiply the covariance of the kept gradients by: trimming the share p of Gaussian gradients with the largest
// whitened norm leaves F_{d+2}(q)/(1 - p) times their covariance, F_k the distribution function of chi^2_k and q the
// (1 - p) quantile of chi^2_d. 0 <= p < 1. Overstates by the share that was faulty, a few percent at small d; not
// needed where the diagonal is known.
double TrimmingCorrection(int64_t dimension, double fraction);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_GRADIENT_TRIMMER_H_
