#ifndef GRADORACLE_CORE_DEFENCE_DEFENCE_POLICY_H_
#define GRADORACLE_CORE_DEFENCE_DEFENCE_POLICY_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "core/noise_calibration.h"
#include "core/sampling.h"

namespace gradoracle {

// What an owner sets against readers of curvature and of rows, beyond the limits of a request (core/oracle_info.h).
// Every field unset: no such defence. docs/defences.md says what each one does not stop.
struct DefencePolicy {
  // c: every example's gradient x_i (x_i'w - y_i) is shortened to Euclidean norm c. Finite, > 0, in units of gradients.
  // Together with gradient_noise_multiplier, and Poisson sampling: then
  //   g = (1/n) (sum_{i in B} clip_c(g_i) + s c z),  z ~ N(0, I_d),  each row in B with probability n/N   (theory 6b),
  // and no target noise is drawn.
  std::optional<double> clip_norm = {};
  // s of the same. Finite, > 0.
  std::optional<double> gradient_noise_multiplier = {};
  // lambda: every reply gets N(0, lambda I), fresh, and no target noise is drawn (theory 6c.3). Finite, > 0, in squared
  // units of gradients.
  std::optional<double> mask_variance = {};
  // h: replies are those at the nearest point of the grid h Z^d, and gradient k of a batch size and noise choice is the
  // same for everybody, as often as it is asked (theory 6c.5). Finite, > 0, in units of the weights.
  std::optional<double> weights_grid = {};
  // K: how often any row may take part in a batch, over all requests of all callers (theory 6a.2). >= 1; needs shuffled
  // epochs. Kept by whoever keeps the books (server/ledger); a source in memory does not count.
  std::optional<int64_t> max_participation = {};
  // Replies are multiples of it: a power of two, at least the grid of core/reply_grid.h.
  std::optional<double> reply_grid = {};

  friend bool operator==(const DefencePolicy&, const DefencePolicy&) = default;
};

// Whether replies carry isotropic gradient noise in place of target noise: their covariance is then not the Hessian.
inline bool HasIsotropicNoise(const DefencePolicy& policy) {
  return policy.clip_norm.has_value() || policy.mask_variance.has_value();
}

// v of the isotropic noise N(0, v I) in a reply of batch size n: lambda, or s^2 c^2 / n^2; 0 without either.
double IsotropicNoiseVariance(const DefencePolicy& policy, int64_t batch_size);

// Everything that can be said without the data. Errors: kInvalidArgument DEFENCE_INVALID naming the field and what is
// allowed: a value out of range, half of clipping (norm, multiplier, Poisson sampling go together), Poisson sampling or
// a participation cap under another sampling, a mask beside clipping, target noise (a rule scaled or fixed, extra
// variances, the curvature probe) beside isotropic noise, a grid of weights beside shuffled epochs (whose noise depends
// on the count, so that two counts would share a batch).
absl::Status ValidateDefences(const DefencePolicy& policy, Sampling sampling, const NoisePolicy& noise,
                              bool chooses_noise);

// The noise rule in force: none beside isotropic noise, else `noise`.
NoisePolicy NoiseUnder(const DefencePolicy& policy, const NoisePolicy& noise);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DEFENCE_DEFENCE_POLICY_H_
