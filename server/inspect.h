#ifndef GRADORACLE_SERVER_INSPECT_H_
#define GRADORACLE_SERVER_INSPECT_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/config/config.h"

namespace gradoracle {

struct InspectOptions {
  std::string hessian_out;  // .npy, (d, d); empty: not written
  std::string scaling_out;  // .json (core/scaling.h)
  std::string compare;      // .npy, (d, d): an estimate of the Hessian
};

// What the owner may know about the data set in served units; never for callers. Keys: row_count, dimension,
// residual_variance (sigma^2), rank, eigenvalues (of H = X'X/N, descending), effective_rank (tr H / ||H||_2),
// smallest_calibrated_batch_size, warnings; interpolates, scaling, limits{min_batch_size, max_batch_size},
// mask_variance where there is a mask, and what LeakageReport says; with
// `compare` also relative_error = ||estimate - H||_2 / ||H||_2.
// Works where serving is refused because the noise rule is impossible: the refusal is then the first warning, and
// limits and what follows from them are left out. Errors: those of CheckFiles, LocalOracle::Create, core/npy.h,
// RelativeError.
absl::StatusOr<nlohmann::ordered_json> Inspect(const ServerConfig& config, const InspectOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_INSPECT_H_
