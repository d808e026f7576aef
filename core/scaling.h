#ifndef GRADORACLE_CORE_SCALING_H_
#define GRADORACLE_CORE_SCALING_H_

#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/regression_data.h"

// Units of a served data set. Standardised value = (value - mean) / deviation, for every feature and the target.
namespace gradoracle {

struct Scaling {
  std::vector<std::string> feature_names;  // d
  Eigen::VectorXd feature_means;           // (d), feature units
  Eigen::VectorXd feature_deviations;      // (d), > 0, population standard deviations (divisor N)
  std::string target_name;
  double target_mean = 0;
  double target_deviation = 1;  // > 0
};

// Means and population standard deviations (divisor N) of the columns of `data`, by two passes.
// Errors: kInvalidArgument CONSTANT_COLUMN naming every such column (also when its deviation is lost in rounding:
// at most 4 sqrt(N) eps |mean|); COLUMN_TOO_LARGE (the mean overflows); DATA_EMPTY.
absl::StatusOr<Scaling> ComputeScaling(const RegressionData& data);

// Centres and scales `data` in place. Errors: kInvalidArgument SCALING_MISMATCH (other names or dimension: `data` is
// left as it was; a scaled value overflows: `data` is no longer of use).
absl::Status ApplyScaling(const Scaling& scaling, RegressionData& data);

// JSON: {"features": [{"name","mean","deviation"}...], "target": {"name","mean","deviation"}}. The identity of a
// scaling file is the SHA-256 of its bytes, in lower-case hex: what `info` calls `scaling`.
struct ScalingFile {
  Scaling scaling;
  std::string sha256;
};
// Errors: kNotFound; kInvalidArgument SCALING_FILE_INVALID naming file and key, never repeating what the file holds.
absl::StatusOr<ScalingFile> ReadScalingFile(const std::string& path);
// To a temporary name in the same folder, then renamed. Doubles read back to the same bits. Errors: the system's.
absl::Status WriteScalingFile(const std::string& path, const Scaling& scaling);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_SCALING_H_
