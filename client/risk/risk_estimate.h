#ifndef GRADORACLE_CLIENT_RISK_RISK_ESTIMATE_H_
#define GRADORACLE_CLIENT_RISK_RISK_ESTIMATE_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "client/risk/adversarial_risk.h"
#include "core/gradient_source.h"

namespace gradoracle {

// The risks of a model from gradients alone. Three samples: m_0 gradients at zero and m_w at w, both at the oracle's
// smallest noise level, and m_c curvature gradients (the same as those at zero where the oracle has one level only).
//
//   standard risk      mean r^2            = E y^2 + w'(g_0 + g_w)                               [theory 5.2]
//   adversarial risk   mean (|r| + a)^2    : AdversarialRisk()
//   excess risk        1/2 (w-w*)'H(w-w*)  = 1/2 (g_w'P g_w - tr(P C_w)/m_w),  P ~ H^{-1}        [theory 5.3, 5.2]
//   residual variance  sigma^2             = (mean r^2 - 2 excess risk) N/(N - d)
//
// The first line holds for any law of the features and residuals, as g_0 = -X'y/N and g_w = Hw - X'y/N; E y^2 = 1 on a
// standardised oracle, and is otherwise for the caller to say.
struct RiskEstimate {
  Interval standard_risk;
  Interval adversarial_risk;
  Interval excess_risk;
  Interval residual_variance;
  double dual_norm = 0;
  double level = 0.95;
  int64_t gradients = 0;
};

struct RiskOptions {
  double radius = 0;  // of the attack, >= 0
  AttackNorm norm = AttackNorm::kL2;
  int64_t batch_size = 0;  // n
  int64_t count = 0;       // gradients in all, at least 4 (d + 12)
  double level = 0.95;     // of the intervals, in (0.5, 1)
  // E y^2 in served units; needed unless the oracle standardised its data itself.
  std::optional<double> target_second_moment;
  // Bound on the residuals' kurtosis, >= 1, for the lower end of adversarial_risk. Not in the gradients.
  double largest_kurtosis = 50;
  std::optional<double> total_noise_variance;  // tau^2 where the oracle does not tell it
  // Told after every block; false stops with kCancelled INTERRUPTED.
  std::function<bool(int64_t done)> watch;
};

// Errors: kInvalidArgument WEIGHTS_DIMENSION, BATCH_SIZE_NOT_POSITIVE, COUNT_NOT_POSITIVE, RADIUS_NEGATIVE,
// LARGEST_KURTOSIS_OUT_OF_RANGE, LEVEL_OUT_OF_RANGE, TARGET_SECOND_MOMENT_UNKNOWN, TOTAL_NOISE_VARIANCE_UNKNOWN,
// TOTAL_NOISE_VARIANCE_CONTRADICTS; kOutOfRange COUNT_TOO_SMALL; those of the source.
absl::StatusOr<RiskEstimate> EstimateRisk(GradientSource& oracle, const Eigen::Ref<const Eigen::VectorXd>& weights,
                                          const RiskOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_RISK_RISK_ESTIMATE_H_
