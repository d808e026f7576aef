#ifndef GRADORACLE_CLIENT_AUDIT_SIMULATION_H_
#define GRADORACLE_CLIENT_AUDIT_SIMULATION_H_

#include <memory>

#include "absl/status/statusor.h"
#include "client/audit/audit.h"
#include "core/local_oracle.h"

namespace gradoracle {

// The audit by an owner (audit.h, AuditData): oracles made in this process from the data, under the policy and under
// others that it is compared with. `policy` is what `oracle` was made with.
absl::StatusOr<AuditOutcome> Simulate(std::shared_ptr<const LocalOracle> oracle, const OracleOptions& policy,
                                      const AuditOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_SIMULATION_H_
