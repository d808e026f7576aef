#ifndef GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_NAME_H_
#define GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_NAME_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradoracle {

// The ways from gradients to a Hessian; estimator.h says what each one asks for and when it is right.
enum class Estimator { kAuto, kCovariance, kCorrected, kTwoLevel, kProbe, kActive, kWarmUp };

// "auto", "covariance", "corrected", "two_level", "probe", "active", "warm_up".
absl::string_view EstimatorName(Estimator estimator);

// Errors: kInvalidArgument ESTIMATOR_UNKNOWN, field `estimator`, listing the names.
absl::StatusOr<Estimator> ParseEstimator(absl::string_view name);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_NAME_H_
