#ifndef GRADORACLE_CLIENT_ESTIMATION_PLAN_H_
#define GRADORACLE_CLIENT_ESTIMATION_PLAN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/estimation/hessian_estimator.h"

// How many gradients a relative error ||H_hat - H||_2 / ||H||_2 <= e costs, before they are asked for [theory 1.2].
// The answers are for gradients at the optimum of nearly Gaussian features; heavier tails cost more. Stop by the error
// limit (sequential.h), not by the plan.
namespace gradoracle {

// By effective rank r [theory 1.2b, after Koltchinskii and Lounici 2017]:
//   m = 4 (1 + 2/n) (sqrt r + sqrt ln(1/(1 - level)))^2 / e^2, rounded up.
// An estimate, good within 6 % for the identity (n >= 10), 1.35 to 1.6 times too many for decaying spectra.
// effective_rank r >= 1, batch_size n >= 1, 0 < target_error e <= 1, 0.5 < level < 1; otherwise
// kInvalidArgument EFFECTIVE_RANK_OUT_OF_RANGE, BATCH_SIZE_NOT_POSITIVE, TARGET_ERROR_OUT_OF_RANGE, LEVEL_OUT_OF_RANGE.
absl::StatusOr<int64_t> GradientsByEffectiveRank(double effective_rank, int64_t batch_size, double target_error,
                                                 double level);

// Rigorous for Gaussian gradients (n large), whatever the spectrum, and in the whitened sense ||C^-1/2 C_hat C^-1/2 -
// I|| too [theory 1.2a, Davidson and Szarek 2001]:
//   m = ((sqrt d + sqrt(2 ln(2/(1 - level)))) / (sqrt(1 + e) - 1))^2, rounded up.
// dimension d >= 1; ranges and errors as above (DIMENSION_NOT_POSITIVE).
absl::StatusOr<int64_t> GradientsWhitened(int64_t dimension, double target_error, double level);

struct Plan {
  int64_t optimistic = 0;  // effective rank 1
  int64_t worst = 0;       // effective rank d
  int64_t whitened = 0;    // whitened bound: whoever inverts H needs it
};
// Spends nothing: all it takes is the dimension.
absl::StatusOr<Plan> PlanGradients(int64_t dimension, int64_t batch_size, double target_error, double level);

// The same, narrowed by a pilot estimate of m0 gradients to the effective ranks r that it leaves possible:
//   (tr - t) / (||H_hat|| + U) <= r <= (tr + t) / (||H_hat|| - U), within [1, d],
// U the pilot's limit on ||H_hat - H|| at its level, and t = z_level sqrt(((1 + 2/n) 2 ||H_hat||_F^2 + 2/n tr^2) / m0)
// the trace's sampling error [theory 1.1.5]. A pilot without an upper limit narrows nothing: [1, d].
// `optimistic` and `worst` are then those of the two ends; `whitened` depends on d alone.
struct NarrowedPlan {
  Plan gradients;
  double effective_rank_lower = 1;
  double effective_rank_upper = 1;
};
absl::StatusOr<NarrowedPlan> NarrowPlan(const HessianEstimate& pilot, double target_error);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_PLAN_H_
