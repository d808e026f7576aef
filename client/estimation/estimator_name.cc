#include "client/estimation/estimator_name.h"

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr Estimator kEstimators[] = {Estimator::kAuto,     Estimator::kCovariance, Estimator::kCorrected,
                                     Estimator::kTwoLevel, Estimator::kProbe,      Estimator::kActive,
                                     Estimator::kWarmUp};

}  // namespace

absl::string_view EstimatorName(Estimator estimator) {
  switch (estimator) {
    case Estimator::kAuto:
      return "auto";
    case Estimator::kCovariance:
      return "covariance";
    case Estimator::kCorrected:
      return "corrected";
    case Estimator::kTwoLevel:
      return "two_level";
    case Estimator::kProbe:
      return "probe";
    case Estimator::kActive:
      return "active";
    case Estimator::kWarmUp:
      return "warm_up";
  }
  return "unknown";
}

absl::StatusOr<Estimator> ParseEstimator(absl::string_view name) {
  for (const Estimator estimator : kEstimators) {
    if (EstimatorName(estimator) == name) return estimator;
  }
  return InvalidField("ESTIMATOR_UNKNOWN", "estimator",
                      absl::StrCat("estimator is '", name,
                                   "', but must be auto, covariance, corrected, two_level, probe, active or warm_up"));
}

}  // namespace gradoracle
