#include "core/accountant/label_privacy.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr double kFarTail = -30;

// ln Phi(x). Beyond the reach of erfc the first two terms of its asymptotic series: relative error below 3/x^4.
double LogNormalCdf(double x) {
  if (x > kFarTail) return std::log(std::erfc(-x / std::sqrt(2.0)) / 2);
  return -x * x / 2 - std::log(-x * std::sqrt(2 * M_PI)) + std::log1p(-1 / (x * x));
}

double GaussianDelta(double epsilon, double mu) {
  return std::exp(LogNormalCdf(mu / 2 - epsilon / mu)) - std::exp(epsilon + LogNormalCdf(-epsilon / mu - mu / 2));
}

absl::Status Invalid(absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "LABEL_PRIVACY_INVALID", "noise_rule",
                   absl::StrCat("no label epsilon can be given: ", why,
                                ". It is valid only with a published --scaling (or --no-standardise), --noise-rule "
                                "fixed, a --reply-grid of your own choice and --sampling without_replacement or "
                                "shuffled_epochs"));
}

}  // namespace

double LabelRho(double width, double injected_variance, double participations) {
  return participations * width * width / (2 * injected_variance);
}

double EpsilonOfRho(double rho, double delta) { return rho + 2 * std::sqrt(rho * std::log(1 / delta)); }

double GaussianEpsilonOfRho(double rho, double delta) {
  const double mu = std::sqrt(2 * rho);
  if (!(mu > 0) || GaussianDelta(0, mu) <= delta) return 0;
  double low = 0;
  double high = EpsilonOfRho(rho, delta);  // at most delta there
  for (int halving = 0; halving < 200 && low < high; ++halving) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (GaussianDelta(middle, mu) > delta ? low : high) = middle;
  }
  return high;
}

absl::StatusOr<LabelPrivacy> AccountLabels(double width, double injected_variance, double participations,
                                           double delta) {
  const bool valid = std::isfinite(width) && width > 0 && std::isfinite(injected_variance) && injected_variance > 0 &&
                     std::isfinite(participations) && participations >= 0 && delta > 0 && delta < 1;
  if (!valid) {
    return InvalidField("PRIVACY_PARAMETER", "delta",
                        absl::StrFormat("label range of width %g, injected variance %g, %g participations, delta %g: "
                                        "need width > 0, variance > 0, participations >= 0, 0 < delta < 1",
                                        width, injected_variance, participations, delta));
  }
  LabelPrivacy privacy;
  privacy.rho = LabelRho(width, injected_variance, participations);
  privacy.epsilon = GaussianEpsilonOfRho(privacy.rho, delta);
  privacy.zcdp_epsilon = EpsilonOfRho(privacy.rho, delta);
  return privacy;
}

absl::Status CheckLabelPrivacy(const OracleInfo& info, bool has_own_reply_grid) {
  if (info.scaling == "standardised") return Invalid("the data was standardised by its own labels");
  if (info.noise.isotropic) return Invalid("no noise is added to the labels under a mask or clipping");
  if (info.noise.rule != NoiseRule::kFixed) {
    return Invalid(absl::StrCat(
        "--noise-rule ", NoiseRuleName(info.noise.rule),
        info.noise.rule == NoiseRule::kNone ? " adds no noise" : " takes its variance from the labels' residuals"));
  }
  if (!info.noise.injected_variance.has_value() || !(*info.noise.injected_variance > 0)) {
    return Invalid("--noise-variance is 0");
  }
  if (!info.noise.extra_variances.empty()) {
    return Invalid("--extra-noise-variances subtract the labels' residual variance");
  }
  if (!has_own_reply_grid) return Invalid("the default grid of the replies looks at the labels' residual variance");
  if (info.sampling == Sampling::kIid) {
    return Invalid("--sampling iid may draw a row several times into one batch, which nothing here bounds");
  }
  return absl::OkStatus();
}

std::vector<std::string> LabelPrivacyAssumptions(bool capped) {
  return {"one label replaced by another of the range; features and batches are public",
          "every target lies in a range of --label-width fixed without looking at them",
          capped ? "over all requests in its ledger: no row is used more often than --max-participation"
                 : "without --max-participation a row may be in every batch",
          "noise as real numbers; no gain from sampling is claimed; features are not protected"};
}

}  // namespace gradoracle
