#ifndef GRADORACLE_CLIENT_ESTIMATION_SEQUENTIAL_H_
#define GRADORACLE_CLIENT_ESTIMATION_SEQUENTIAL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/estimation/hessian_estimator.h"

// Gathering until the error limit is small enough [theory 1.3]. Looks at
//   m_0, 1.5 m_0, 1.5^2 m_0 ... gradients, the k-th look (k = 1, 2 ...) at level 1 - delta_k,
//   delta_k = 6 delta / (pi^2 k^2),  sum over k of delta_k = delta = 1 - level,
// so that all limits hold together with probability `level`, and stopping at the first that is small enough does not
// spoil the one it stops at.
namespace gradoracle {

struct SequentialOptions {
  double target_error = 0;    // e, in (0, 1]
  double level = 0.95;        // of the result as a whole, in (0.5, 1)
  int64_t largest_count = 0;  // gradients at which to give up, >= 2
  int64_t first_count = 0;    // m_0 >= 2, see FirstLookCount
};

// A good m_0: half of what effective rank 1 would need (plan.h), before which no limit can be small enough; at least
// 256. Give it to the estimator as its expected_count. Errors: those of PlanGradients.
absl::StatusOr<int64_t> FirstLookCount(int64_t batch_size, double target_error, double level);

struct SequentialEstimate {
  // relative_error.upper is the limit of the last look, which holds at the overall level; relative_error.level says so.
  HessianEstimate estimate;
  bool reached = false;  // upper <= target_error
  int64_t looks = 0;
};

// delta_k as a level: 1 - 6 (1 - level) / (pi^2 k^2).  k >= 1.
double LookLevel(double level, int64_t look);

// Gradients of look k = 1, 2 ...: m_0 1.5^(k-1), rounded up, at most largest_count.
int64_t LookCount(const SequentialOptions& options, int64_t look);

// Adds gradients to `estimator`, empty or gone on with, until the limit is at most target_error or it holds
// largest_count of them. `gather(k)` adds up to k more by one request, and fails when it adds none; when it adds fewer,
// what there is is looked at once more, and that is all (an interruption).
// Counts of looks below what the estimator holds already are passed over; they keep their share of the level, so that
// an estimate gone on with does not start its union bound anew.
// Errors: kInvalidArgument TARGET_ERROR_OUT_OF_RANGE, LEVEL_OUT_OF_RANGE, TOO_FEW_GRADIENTS; those of `gather` and of
// Estimate.
absl::StatusOr<SequentialEstimate> EstimateUntil(const SequentialOptions& options, HessianEstimator& estimator,
                                                 absl::FunctionRef<absl::Status(int64_t)> gather,
                                                 absl::BitGenRef generator);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SEQUENTIAL_H_
