#include "client/estimation/noise_choice.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"

namespace gradoracle {

absl::StatusOr<NoiseChoice> ChooseNoise(const NoiseInfo& noise, int64_t batch_size, std::optional<double> given) {
  const std::vector<double>& extra = noise.extra_variances;
  if (given.has_value() && std::find(extra.begin(), extra.end(), *given) != extra.end()) {
    return NoiseChoice{given, *given};
  }
  const std::optional<double> known = KnownTotalNoiseVariance(noise, batch_size);
  const std::string rule(NoiseRuleName(noise.rule));
  if (!known.has_value()) {
    if (given.has_value()) return NoiseChoice{std::nullopt, *given};
    return InvalidField("MISSING", "total_noise_variance",
                        absl::StrCat("total_noise_variance is missing: at its rule `", rule,
                                     "` the oracle does not tell the residual's share; give --total-noise-variance V"));
  }
  if (!given.has_value() || *given == *known) return NoiseChoice{std::nullopt, *known};
  return InvalidField(
      "TOTAL_NOISE_VARIANCE_CONTRADICTS", "total_noise_variance",
      absl::StrCat("total_noise_variance is ", *given, ", but the oracle's rule `", rule, "` makes it ", *known,
                   extra.empty() ? "" : absl::StrCat(", and on request ", absl::StrJoin(extra, ", "))));
}

}  // namespace gradoracle
