#ifndef GRADORACLE_CLIENT_AUDIT_ACCOUNTS_H_
#define GRADORACLE_CLIENT_AUDIT_ACCOUNTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/audit/audit.h"
#include "core/accountant/curvature_accountant.h"
#include "core/defence/defence_policy.h"
#include "core/oracle_info.h"
#include "nlohmann/json.hpp"

// What the accountants (core/accountant) say of the policy that is audited, as parts of report.json; every number
// beside what it assumes, and a reason where there is none.
namespace gradoracle {

// "accountant": the predicted error of the strongest known attack after each budget, with its interval.
nlohmann::json AccountantJson(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
                              absl::Span<const int64_t> budgets);

// The same from what callers are told, for whom the data is unknown: as if H = I and the residuals had all the variance
// of the target, the standardised data that is hardest to know (a relative error falls with the effective rank). Others
// are known sooner. {"applicable": false, "reason"} in raw units, under noise whose variance is not told, and for more
// than 512 features (the laws of the norms are simulated).
nlohmann::json PublicAccountantJson(const OracleInfo& info, absl::Span<const int64_t> budgets);

// The prediction for one kind of attack after `count` gradients of `batch_size`: of slopes ("active"), or else of the
// better of the passive ones. {"attack", "relative_error", "interval"}; null where the accountant knows none.
nlohmann::json PredictedJson(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
                             bool slopes, int64_t batch_size, int64_t count);

// How the measured errors ("strongest") lie to the predicted intervals: where they are above, the attacks tried are
// weaker than the prediction allows for; where they are below, the prediction does not hold.
std::string AgreementSentence(const nlohmann::json& accountant, const nlohmann::json& strongest);

// "label_privacy": epsilon of one label after each budget, or why none is valid [core/accountant/label_privacy.h].
nlohmann::json LabelPrivacyJson(const OracleInfo& info, const DefencePolicy& defence, const AuditOptions& options,
                                absl::Span<const int64_t> budgets);

// "gradient_privacy": epsilon of one row under clipping, or why there is none [core/accountant/rdp_accountant.h].
nlohmann::json GradientPrivacyJson(const OracleInfo& info, const DefencePolicy& defence, const AuditOptions& options,
                                   absl::Span<const int64_t> budgets);

// OK for 0 < delta < 1. Errors: kInvalidArgument PRIVACY_PARAMETER, field privacy_delta.
absl::Status CheckPrivacyDelta(double delta);

// {"applicable": false, "reason"}.
nlohmann::json NotApplicable(const std::string& reason);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_ACCOUNTS_H_
