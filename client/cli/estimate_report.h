#ifndef GRADORACLE_CLIENT_CLI_ESTIMATE_REPORT_H_
#define GRADORACLE_CLIENT_CLI_ESTIMATE_REPORT_H_

#include <optional>
#include <string>

#include "client/estimation/continued_estimate.h"
#include "client/estimation/hessian_estimator.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

// An estimate for programs: the keys of the contract of `gradoracle estimate --json`. Absent limits are null.
nlohmann::ordered_json EstimateJson(const HessianEstimate& estimate, double seconds);

// The same for people, `seconds` left out when 0: a page with units, the error in words, and the head of the spectrum
// as bars.
std::string EstimateText(const HessianEstimate& estimate, double seconds, bool colour);

// What --state and --target-error add: `state{file, gradients_added}`, `target_error{asked, reached}`; and
// gradients_per_second is that of the gradients added.
void AddContinuation(const ContinuedEstimate& continuation, const std::string& state,
                     std::optional<double> target_error, double seconds, nlohmann::ordered_json& json);
std::string ContinuationText(const ContinuedEstimate& continuation, const std::string& state,
                             std::optional<double> target_error);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_ESTIMATE_REPORT_H_
