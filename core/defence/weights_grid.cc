#include "core/defence/weights_grid.h"

#include "core/query_policy.h"

namespace gradoracle {

GradientQuery OnWeightsGrid(GradientQuery query, const std::optional<double>& grid) {
  if (grid.has_value()) query.weights = (query.weights.array() / *grid).rint() * *grid + 0.0;
  return query;
}

absl::StatusOr<RequestKey> StickyKey(const ProcessSecret& secret, GradientQuery query, const OracleInfo& info) {
  query.count = 1;
  // No caller can be called so (server/ledger: names hold no control characters).
  return secret.DeriveRequestKey("\x1fsticky", "sticky", QueryDigest(query, info));
}

}  // namespace gradoracle
