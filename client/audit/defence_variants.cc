#include "client/audit/defence_variants.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/audit/statistics.h"
#include "core/defence/defence_policy.h"
#include "core/defence/mask_budget.h"

namespace gradoracle {
namespace {

constexpr double kReplyGrid = 1.0 / 16;
constexpr double kGridShare = 0.01;  // of max_weights_norm

// Isotropic noise takes the place of target noise.
OracleOptions WithoutTargetNoise(OracleOptions policy) {
  policy.noise = NoisePolicy{};
  policy.extra_noise_variances.clear();
  policy.curvature_probe = false;
  return policy;
}

double MedianRowGradientNorm(const RegressionData& data) {
  const Eigen::ArrayXd norms = data.features.rowwise().norm().array() * data.targets.array().abs();
  return Median(std::vector<double>(norms.begin(), norms.end()));
}

DefenceVariant Variant(const OracleOptions& policy, const char* name, const char* title) {
  DefenceVariant variant;
  variant.name = name;
  variant.title = title;
  variant.policy = policy;
  return variant;
}

}  // namespace

std::vector<DefenceVariant> DefenceVariants(const LocalOracle& oracle, const OracleOptions& policy, int64_t batch_size,
                                            int64_t count, double error) {
  const OracleInfo& info = oracle.info();
  const double hessian_norm = oracle.fit().eigenvalues[0];
  const double norm_limit = info.limits.max_weights_norm;
  std::vector<DefenceVariant> variants;

  DefenceVariant as_it_is = Variant(policy, "policy", "The policy as it is");
  as_it_is.setting = "nothing added";
  as_it_is.stops = "What its limits stop.";
  as_it_is.does_not_stop = "The attacks of this table.";
  as_it_is.theory = "Errors fall as one over the square root of the gradients.";
  variants.push_back(std::move(as_it_is));

  if (const double cap = std::sqrt(static_cast<double>(batch_size) / hessian_norm); cap < norm_limit) {
    DefenceVariant variant = Variant(policy, "max_weights_norm", "Cap on the norm of weights");
    variant.policy.max_weights_norm = cap;
    variant.setting = absl::StrFormat("max_weights_norm = %.3g", cap);
    variant.stops = "Probing with large weights, whose signal would drown the noise.";
    variant.does_not_stop = "Watching: the covariance of gradients at one point is the Hessian still.";
    variant.theory = "The active attack errs by d sqrt(2 (1 + n/R^2)/(m n)) or more; watching is not touched.";
    variants.push_back(std::move(variant));
  }
  if (info.limits.max_batch_size > batch_size) {
    DefenceVariant variant = Variant(policy, "max_batch_size", "Cap on the batch size");
    variant.policy.max_batch_size = std::max(batch_size, info.limits.min_batch_size);
    variant.setting = absl::StrCat("max_batch_size = ", *variant.policy.max_batch_size);
    variant.stops = "Probing with batches so large that they hardly differ from the data.";
    variant.does_not_stop = "Watching, and probing with many small batches.";
    variant.theory = "The active attack's error grows as one over the square root of the batch size.";
    variants.push_back(std::move(variant));
  }
  if (const int64_t least = 2 * info.dimension;
      least > info.limits.min_batch_size && least <= info.limits.max_batch_size) {
    DefenceVariant variant = Variant(policy, "min_batch_size", "Larger smallest batch");
    variant.policy.min_batch_size = least;
    variant.setting = absl::StrCat("min_batch_size = ", least);
    variant.stops = "Reading rows and batches off single gradients.";
    variant.does_not_stop = "Any attack on the curvature.";
    variant.theory = "No change of the errors of this table.";
    variants.push_back(std::move(variant));
  }
  if (!HasIsotropicNoise(policy.defence) && policy.sampling != Sampling::kPoisson) {
    const absl::StatusOr<double> mask = MaskVarianceForBudget(count, error, norm_limit, hessian_norm, info.dimension);
    if (mask.ok()) {
      DefenceVariant variant = Variant(WithoutTargetNoise(policy), "mask", "Isotropic mask");
      variant.policy.defence.mask_variance = *mask;
      variant.setting = absl::StrFormat("mask_variance = %.3g", *mask);
      variant.stops = "Watching: the covariance of gradients is the mask's, not the Hessian's.";
      variant.does_not_stop =
          "Probing with large weights: means are slopes still, and only their number limits it. Nothing is claimed "
          "against it beyond the budget the mask was made for.";
      variant.theory = absl::StrFormat(
          "Watching errs by 1 or more; the active attack by d sqrt(2 lambda/m)/(R |H|) = %.2f after %d gradients, or "
          "more.",
          error, count);
      variants.push_back(std::move(variant));
    }
    DefenceVariant variant =
        Variant(WithoutTargetNoise(policy), "clipping", "Clipping, Gaussian noise, Poisson sampling");
    variant.policy.sampling = Sampling::kPoisson;
    variant.policy.defence.clip_norm = MedianRowGradientNorm(oracle.data());
    variant.policy.defence.gradient_noise_multiplier = 1;
    variant.setting =
        absl::StrFormat("clip_norm = %.3g, gradient_noise_multiplier = 1", *variant.policy.defence.clip_norm);
    variant.stops = "Learning much of any one row, with an epsilon that composes (features and targets).";
    variant.does_not_stop = "Learning what all rows have in common, the curvature included, from many gradients.";
    variant.theory =
        "Watching errs by 2 sqrt(d/m) (v n/(tau^2 |H|) + 1) after subtracting the known noise v; with large weights "
        "clipping bends the slopes, so that probing errs by a bias that no number of gradients removes.";
    if (*variant.policy.defence.clip_norm > 0 && !policy.defence.weights_grid.has_value()) {
      variants.push_back(std::move(variant));
    }
  }
  if (!policy.defence.weights_grid.has_value() && policy.sampling != Sampling::kShuffledEpochs) {
    DefenceVariant variant = Variant(policy, "weights_grid", "Sticky answers on a grid of weights");
    variant.policy.defence.weights_grid = kGridShare * norm_limit;
    variant.setting = absl::StrFormat("weights_grid = %.3g", *variant.policy.defence.weights_grid);
    variant.stops = "Many callers averaging answers at one point: they get the same ones.";
    variant.does_not_stop = "One caller with a budget: each gradient of a request is fresh, and nearby points differ.";
    variant.theory =
        "A bias of at most the grid's step times the Hessian, and nothing new for who asks one point twice; who asks "
        "each point once, as averaging does, loses no more than that.";
    variants.push_back(std::move(variant));
  }
  if (!policy.defence.reply_grid.has_value()) {
    DefenceVariant variant = Variant(policy, "reply_grid", "Rounding of replies");
    variant.policy.defence.reply_grid = kReplyGrid;
    variant.setting = absl::StrFormat("reply_grid = %g", kReplyGrid);
    variant.stops = "Low bits of replies that depend on the rows.";
    variant.does_not_stop = "Anything that averages: rounding is a little more noise.";
    variant.theory = "The grid's square over 12 is added to the variance; no visible change.";
    variants.push_back(std::move(variant));
  }
  return variants;
}

}  // namespace gradoracle
