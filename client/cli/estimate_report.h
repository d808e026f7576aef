#ifndef GRADORACLE_CLIENT_CLI_ESTIMATE_REPORT_H_
#define GRADORACLE_CLIENT_CLI_ESTIMATE_REPORT_H_

#include <string>

#include "client/estimation/hessian_estimator.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

// An estimate for programs: the keys of the contract of `gradoracle estimate --json`. Absent limits are null.
nlohmann::ordered_json EstimateJson(const HessianEstimate& estimate, double seconds);

// The same for people: a page with units, the error in words, and the head of the spectrum as bars.
std::string EstimateText(const HessianEstimate& estimate, double seconds, bool colour);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_ESTIMATE_REPORT_H_
