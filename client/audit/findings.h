#ifndef GRADORACLE_CLIENT_AUDIT_FINDINGS_H_
#define GRADORACLE_CLIENT_AUDIT_FINDINGS_H_

#include <cstdint>
#include <string>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/audit/attack_task.h"
#include "core/gradient_source.h"
#include "core/regression_data.h"
#include "nlohmann/json.hpp"

// Leaks that are no curve: each asks a source and says {"found": true, false or null (not tested), "evidence":
// {"sentence": .., numbers}}. `rows`, the owner's in served units, may be null; what needs them then says so.
namespace gradoracle {

// A finding that could not be tested, and why.
nlohmann::json NotTested(const std::string& why);

// Exact zeros, or repeated ratios, of coordinates [support_leak.h], at the smallest batches allowed (but 8 rows at
// least: the rows themselves show below that).
absl::StatusOr<nlohmann::json> FindSupportLeakIn(GradientSource& source, int64_t count, const RegressionData* rows,
                                                 absl::BitGenRef generator);
// At batch size 1, where it is allowed, gradients are parallel to rows.
absl::StatusOr<nlohmann::json> FindRowReconstruction(GradientSource& source, int64_t count, const RegressionData* rows);
// The rows of the smallest batches allowed, where they are fewer than the dimension, with the owner's rows as the list
// of candidates.
absl::StatusOr<nlohmann::json> FindBatchRecovery(GradientSource& source, int64_t count, const RegressionData* rows);
// The variance of the noise against tau^2 = n.
absl::StatusOr<nlohmann::json> FindMiscalibration(GradientSource& source, int64_t batch_size, int64_t count,
                                                  const RegressionData* rows, const Eigen::MatrixXd* hessian,
                                                  double residual_variance);
// One row appended: its direction from the difference of two served data sets. `leverage` names which row it is.
struct AppendedRowCase {
  std::string leverage;  // "median", "largest"
  Eigen::VectorXd row;   // (d), the truth
};
// {"leverage", "cosine", "norm_ratio", "gradients", "batch_size"} of one case.
absl::StatusOr<nlohmann::json> TryDifferencing(GradientSource& before, GradientSource& after,
                                               const AppendedRowCase& appended, int64_t batch_size, int64_t budget,
                                               absl::BitGenRef generator);
// The finding from its cases: found when a cosine is at least 0.9.
nlohmann::json DifferencingFinding(const nlohmann::json& cases);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_FINDINGS_H_
