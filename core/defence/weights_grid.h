#ifndef GRADORACLE_CORE_DEFENCE_WEIGHTS_GRID_H_
#define GRADORACLE_CORE_DEFENCE_WEIGHTS_GRID_H_

#include <optional>

#include "absl/status/statusor.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"
#include "core/random_stream.h"

// Sticky answers (theory 6c.5): gradients at points of a grid, each drawn once and for all.
namespace gradoracle {

// The query that is answered instead of `query`: every weight rounded to the nearest multiple of `grid`, no sign of a
// zero. `query` itself where there is no grid. To be validated afterwards: rounding can carry weights over the limit of
// their norm. What is not finite stays so.
GradientQuery OnWeightsGrid(GradientQuery query, const std::optional<double>& grid);

// The key of a sticky answer: PRF(secret, data-set version, weights, batch size, noise choice); not the caller, the
// request id or the count, so gradient k is the same bytes for whoever asks for at least k + 1. `query` on the grid:
// two different points never share a key, for with one batch and noise their difference would be Sigma_B (w1 - w2)
// exactly.
absl::StatusOr<RequestKey> StickyKey(const ProcessSecret& secret, GradientQuery query, const OracleInfo& info);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DEFENCE_WEIGHTS_GRID_H_
