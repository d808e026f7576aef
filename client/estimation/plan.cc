#include "client/estimation/plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "boost/math/distributions/normal.hpp"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Beyond this no oracle answers, and doubles lose whole numbers.
constexpr double kLargestCount = 1e15;

absl::Status CheckTarget(int64_t batch_size, double target_error, double level);
int64_t RoundUp(double gradients);

}  // namespace

absl::StatusOr<int64_t> GradientsByEffectiveRank(double effective_rank, int64_t batch_size, double target_error,
                                                 double level) {
  GRADORACLE_RETURN_IF_ERROR(CheckTarget(batch_size, target_error, level));
  if (!(effective_rank >= 1) || !std::isfinite(effective_rank)) {
    return InvalidField("EFFECTIVE_RANK_OUT_OF_RANGE", "effective_rank",
                        absl::StrCat("effective_rank is ", effective_rank, ", but must be finite and at least 1"));
  }
  const double root = std::sqrt(effective_rank) + std::sqrt(-std::log1p(-level));
  return RoundUp(4 * (1 + 2 / static_cast<double>(batch_size)) * std::pow(root / target_error, 2));
}

absl::StatusOr<int64_t> GradientsWhitened(int64_t dimension, double target_error, double level) {
  GRADORACLE_RETURN_IF_ERROR(CheckTarget(1, target_error, level));
  if (dimension < 1) {
    return InvalidField("DIMENSION_NOT_POSITIVE", "dimension",
                        absl::StrCat("dimension is ", dimension, ", but must be at least 1"));
  }
  const double root = std::sqrt(static_cast<double>(dimension)) + std::sqrt(2 * std::log(2 / (1 - level)));
  return RoundUp(std::pow(root / (std::sqrt(1 + target_error) - 1), 2));
}

absl::StatusOr<Plan> PlanGradients(int64_t dimension, int64_t batch_size, double target_error, double level) {
  Plan plan;
  GRADORACLE_ASSIGN_OR_RETURN(plan.whitened, GradientsWhitened(dimension, target_error, level));
  GRADORACLE_ASSIGN_OR_RETURN(plan.optimistic, GradientsByEffectiveRank(1, batch_size, target_error, level));
  GRADORACLE_ASSIGN_OR_RETURN(
      plan.worst, GradientsByEffectiveRank(static_cast<double>(dimension), batch_size, target_error, level));
  return plan;
}

absl::StatusOr<NarrowedPlan> NarrowPlan(const HessianEstimate& pilot, double target_error) {
  const double level = pilot.relative_error.level;
  const double d = static_cast<double>(pilot.dimension);
  NarrowedPlan plan;
  GRADORACLE_ASSIGN_OR_RETURN(plan.gradients, PlanGradients(pilot.dimension, pilot.batch_size, target_error, level));
  plan.effective_rank_upper = d;
  if (!pilot.relative_error.upper.has_value()) return plan;

  const double relative = *pilot.relative_error.upper;  // U / (||H_hat|| - U)
  const double norm = pilot.eigenvalues(0);
  const double limit = norm * relative / (1 + relative);
  const double n = static_cast<double>(pilot.batch_size);
  const double variance = (1 + 2 / n) * 2 * pilot.eigenvalues.squaredNorm() + 2 / n * pilot.trace * pilot.trace;
  const double quantile = boost::math::quantile(boost::math::normal(), level);
  const double spread = quantile * std::sqrt(variance / static_cast<double>(pilot.gradients));
  plan.effective_rank_lower = std::clamp((pilot.trace - spread) / (norm + limit), 1.0, d);
  plan.effective_rank_upper = std::clamp((pilot.trace + spread) / (norm - limit), 1.0, d);
  GRADORACLE_ASSIGN_OR_RETURN(
      plan.gradients.optimistic,
      GradientsByEffectiveRank(plan.effective_rank_lower, pilot.batch_size, target_error, level));
  GRADORACLE_ASSIGN_OR_RETURN(
      plan.gradients.worst, GradientsByEffectiveRank(plan.effective_rank_upper, pilot.batch_size, target_error, level));
  return plan;
}

namespace {

absl::Status CheckTarget(int64_t batch_size, double target_error, double level) {
  if (batch_size < 1) {
    return InvalidField("BATCH_SIZE_NOT_POSITIVE", "batch_size",
                        absl::StrCat("batch_size is ", batch_size, ", but must be at least 1"));
  }
  if (!(target_error > 0 && target_error <= 1)) {
    return InvalidField("TARGET_ERROR_OUT_OF_RANGE", "target_error",
                        absl::StrCat("target_error is ", target_error, ", but must be above 0 and at most 1"));
  }
  if (level > 0.5 && level < 1) return absl::OkStatus();
  return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                      absl::StrCat("level is ", level, ", but must be above 0.5 and below 1"));
}

int64_t RoundUp(double gradients) { return static_cast<int64_t>(std::min(std::ceil(gradients), kLargestCount)); }

}  // namespace
}  // namespace gradoracle
