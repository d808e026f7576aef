#include "client/estimation/sequential.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/estimation/plan.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr double kGrowth = 1.5;
constexpr int64_t kFewestGradients = 256;

absl::Status CheckOptions(const SequentialOptions& options);

}  // namespace

absl::StatusOr<int64_t> FirstLookCount(int64_t batch_size, double target_error, double level) {
  GRADORACLE_ASSIGN_OR_RETURN(const int64_t optimistic, GradientsByEffectiveRank(1, batch_size, target_error, level));
  return std::max(kFewestGradients, optimistic / 2);
}

double LookLevel(double level, int64_t look) {
  return 1 - 6 * (1 - level) / std::pow(M_PI * static_cast<double>(look), 2);
}

int64_t LookCount(const SequentialOptions& options, int64_t look) {
  const double count = static_cast<double>(options.first_count) * std::pow(kGrowth, static_cast<double>(look - 1));
  if (count >= static_cast<double>(options.largest_count)) return options.largest_count;
  return static_cast<int64_t>(std::ceil(count));
}

absl::StatusOr<SequentialEstimate> EstimateUntil(const SequentialOptions& options, HessianEstimator& estimator,
                                                 absl::FunctionRef<absl::Status(int64_t)> gather,
                                                 absl::BitGenRef generator) {
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(options));
  SequentialEstimate result;
  for (int64_t step = 1;; ++step) {
    const int64_t wanted = LookCount(options, step);
    const bool last = wanted >= options.largest_count;
    if (!last && wanted < estimator.count()) continue;
    if (wanted > estimator.count()) GRADORACLE_RETURN_IF_ERROR(gather(wanted - estimator.count()));
    ++result.looks;
    GRADORACLE_ASSIGN_OR_RETURN(result.estimate, estimator.Estimate(generator, LookLevel(options.level, step)));
    HessianEstimate::RelativeErrorLimit& error = result.estimate.relative_error;
    error.level = options.level;
    result.reached = error.upper.has_value() && *error.upper <= options.target_error;
    if (result.reached || last || estimator.count() < wanted) return result;
  }
}

namespace {

absl::Status CheckOptions(const SequentialOptions& options) {
  if (!(options.target_error > 0 && options.target_error <= 1)) {
    return InvalidField("TARGET_ERROR_OUT_OF_RANGE", "target_error",
                        absl::StrCat("target_error is ", options.target_error, ", but must be above 0 and at most 1"));
  }
  if (!(options.level > 0.5 && options.level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", options.level, ", but must be above 0.5 and below 1"));
  }
  if (options.largest_count < 2 || options.first_count < 2) {
    return InvalidField("TOO_FEW_GRADIENTS", "count",
                        absl::StrCat("count is ", std::min(options.largest_count, options.first_count),
                                     ", but a covariance needs at least 2 gradients"));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace gradoracle
