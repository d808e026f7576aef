#ifndef GRADORACLE_CLIENT_AUDIT_DEFENCE_VARIANTS_H_
#define GRADORACLE_CLIENT_AUDIT_DEFENCE_VARIANTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/local_oracle.h"

namespace gradoracle {

// A policy with one defence more, to compare with the policy as it is.
struct DefenceVariant {
  std::string name;     // stable
  std::string title;    // for people
  std::string setting;  // what was set, "max_weights_norm = 7.1"
  std::string stops;    // honest sentences
  std::string does_not_stop;
  std::string theory;  // what it should do to the errors
  OracleOptions policy;
};

// The policy as it is, then with each of these alone:
//   max_weights_norm   sqrt(n/||H||), where the signal of weights of that norm equals the noise (theory 6a.4)
//   max_batch_size     n
//   min_batch_size     2d, where the policy has less (theory 1.4.9)
//   mask               isotropic noise of the variance at which the active attack errs by `error` after `count`
//                      gradients (theory 6c, core/defence/mask_budget.h)
//   clipping           per-example clipping at the median length of a row's gradient at w = 0, noise multiplier 1,
//                      Poisson sampling (theory 6b)
//   weights_grid       a grid of 0.01 max_weights_norm (theory 6c.5)
//   reply_grid         replies rounded to 2^-4 (of a deviation of about 1 in standardised units)
// A defence that the policy has already, or that does not go with it, is left out: isotropic noise takes the place of
// noise rules, extra variances and the probe, which go.
std::vector<DefenceVariant> DefenceVariants(const LocalOracle& oracle, const OracleOptions& policy, int64_t batch_size,
                                            int64_t count, double error);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_DEFENCE_VARIANTS_H_
