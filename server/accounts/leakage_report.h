#ifndef GRADORACLE_SERVER_ACCOUNTS_LEAKAGE_REPORT_H_
#define GRADORACLE_SERVER_ACCOUNTS_LEAKAGE_REPORT_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/local_oracle.h"
#include "nlohmann/json.hpp"
#include "server/config/config.h"

namespace gradoracle {

// --curvature-floor as a count: the most gradients that all callers together may have. nullopt: none is set.
// Errors: CurvatureAccountant::LargestCount's; kFailedPrecondition CURVATURE_FLOOR_INVALID where not one gradient would
// be left.
absl::StatusOr<std::optional<int64_t>> CurvatureFloorCount(const ServerConfig& config, const LocalOracle& oracle);

// What the accountants say of the oracle, every number beside what it assumes; never for callers:
//   leakage            predictions[] of the strongest known attack at 10^2 ... 10^5 gradients (gradients, attack,
//                      relative_error, lower, upper, assumptions)
//   recommended_budget gradients, relative_error: the count at --curvature-floor, or at 0.25
//   label_privacy      epsilon at those counts where one is valid; else refused, with the reason
//   gradient_privacy   epsilon at those counts with clipping; else refused
absl::StatusOr<nlohmann::ordered_json> LeakageReport(const ServerConfig& config, const LocalOracle& oracle);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_ACCOUNTS_LEAKAGE_REPORT_H_
