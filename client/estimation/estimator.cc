#include "client/estimation/estimator.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/estimation/blas.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/fourth_moment.h"
#include "core/errors.h"
#include "core/query_policy.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// covariance and corrected send one request: the source answers for its own limits. The others are checked as if all
// they ask for were one request, before the first.
absl::Status CheckTogether(const EstimationOptions& options, const OracleInfo& info) {
  if (options.estimator == Estimator::kCovariance || options.estimator == Estimator::kCorrected)
    return absl::OkStatus();
  GradientQuery query;
  query.weights = options.weights;
  query.batch_size = options.batch_size;
  query.count = options.count;
  return ValidateQuery(query, info);
}

// form, trim and shrinkage are about one sample covariance.
absl::Status CheckOnlyForCovariances(const EstimationOptions& options) {
  const bool covariance = options.estimator == Estimator::kCovariance;
  const auto conflict = [&](absl::string_view field, absl::string_view why) {
    return InvalidField("ESTIMATOR_CONFLICT", field, absl::StrCat(field, ": ", why));
  };
  const std::string name(EstimatorName(options.estimator));
  if (options.trim != 0 && !covariance) {
    return conflict("trim", absl::StrCat("only `covariance` can leave gradients out, not `", name, "`"));
  }
  if (options.shrinkage != ShrinkageMethod::kNone && !covariance && options.estimator != Estimator::kProbe) {
    return conflict("shrinkage",
                    absl::StrCat("only `covariance` and `probe` are sample covariances, which shrinkage is "
                                 "made for, not `",
                                 name, "`"));
  }
  if (const int64_t fewest = FewestGradients(options.shrinkage); options.count < fewest) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count is ", options.count, ", but shrinkage `",
                                  ShrinkageMethodName(options.shrinkage), "` needs at least ", fewest, " gradients"));
  }
  if (options.form == HessianForm::kDense) return absl::OkStatus();
  if (!covariance) {
    return conflict("form", absl::StrCat("only `covariance` does without a (d, d) matrix, not `", name, "`"));
  }
  if (options.trim != 0) return conflict("trim", "needs a (d, d) matrix, so the form must be dense");
  if (options.shrinkage != ShrinkageMethod::kNone) {
    return conflict("shrinkage", "needs a (d, d) matrix, so the form must be dense");
  }
  return absl::OkStatus();
}

absl::StatusOr<HessianEstimate> Dispatch(EstimationRun& run) {
  switch (run.options.estimator) {
    case Estimator::kCovariance:
      return EstimateByCovariance(run);
    case Estimator::kCorrected:
      return EstimateByCorrection(run);
    case Estimator::kTwoLevel:
      return EstimateByTwoLevels(run);
    case Estimator::kProbe:
      return EstimateByProbe(run);
    case Estimator::kActive:
      return EstimateActively(run);
    case Estimator::kWarmUp:
      return EstimateAfterWarmUp(run);
    case Estimator::kAuto:
      return EstimateByRule(run);
  }
  return absl::InternalError("no such estimator");
}

}  // namespace

absl::StatusOr<HessianEstimate> EstimateHessian(GradientSource& source, const EstimationOptions& options,
                                                absl::BitGenRef generator) {
  if (!(options.level > 0.5 && options.level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", options.level, ", but must be above 0.5 and below 1"));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GRADORACLE_RETURN_IF_ERROR(CheckTogether(options, info));
  GRADORACLE_RETURN_IF_ERROR(CheckOnlyForCovariances(options));
  Requests requests(source, options.count, options.progress, options.source_failure);
  FourthMoment fourth_moment(info.dimension);
  EstimationRun run{options, info, requests, generator};
  if (options.shrinkage == ShrinkageMethod::kLedoitWolf) run.fourth_moment = &fourth_moment;
  absl::StatusOr<HessianEstimate> estimate = Dispatch(run);
  // Nothing could be made of what came: then the reason is why no more did.
  if (!estimate.ok() && requests.failed()) return *options.source_failure;
  if (estimate.ok()) estimate->gradients = requests.gathered();
  return estimate;
}

}  // namespace gradoracle
