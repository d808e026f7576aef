#ifndef GRADORACLE_TESTS_CORE_GRADIENT_LAW_CHECKS_H_
#define GRADORACLE_TESTS_CORE_GRADIENT_LAW_CHECKS_H_

#include <cstdint>
#include <ostream>
#include <vector>

#include "Eigen/Core"
#include "core/regression_data.h"
#include "core/sampling.h"

// Checks that minibatch gradients follow the law they are documented to follow (theory 1.1, 1.4.5, 7). Each is a pure
// function of a sample and a false-alarm probability. gradient_law_test applies them to the engine, planted_bugs_test
// to engines with one fault each: a check that no fault trips is not a check.
namespace gradoracle {

// m gradients and what they are said to be: g_k = (1/n) sum_{i in B_k} x_i (x_i'w - y_i - xi_ki), xi ~ N(0, tau^2).
struct GradientSample {
  const RegressionData* data = nullptr;
  Eigen::VectorXd weights;
  int64_t batch_size = 0;
  double injected_variance = 0;  // tau^2
  Sampling sampling = Sampling::kIid;
  RowMajorMatrix gradients;    // (m, d)
  std::vector<uint32_t> rows;  // (m, n): the batches B_k the gradients are said to be of
};

struct Verdict {
  bool holds = false;
  double statistic = 0;
  double lower = 0;  // holds exactly when lower <= statistic <= upper
  double upper = 0;
};
std::ostream& operator<<(std::ostream& out, const Verdict& verdict);

// m d needed for a two-sided scale test to see a relative error e of a variance with false-alarm probability a and
// miss probability b: 2 (z_{a/2} + z_b)^2 / e^2.
double DegreesForPower(double relative_error, double false_alarm, double miss);

// Given the batches; exact at any level. Require n >= d and batches of rank d.
// M_k = (g_k - mu_B)' (tau^2 X_B'X_B / n^2)^-1 (g_k - mu_B) ~ chi^2_d, mu_B the batch's gradient without noise.
Verdict CheckMahalanobisSum(const GradientSample& sample, double false_alarm);  // T1: sum ~ chi^2_{md}, two-sided
Verdict CheckMahalanobisLaw(const GradientSample& sample, double false_alarm);  // T2: Kolmogorov-Smirnov, DKW threshold

// Given the batches; exact at any level. Require n <= d and batches of rank n: then xi = -n (X_B')^+ (g - mu_B).
Verdict CheckNoiseLaw(const GradientSample& sample, double false_alarm);  // T3: KS of xi / tau against N(0, 1)
// T8 on the noise: xi of gradients 2k and 2k+1 are independent; r sqrt(M-1) / sqrt(1-r^2) ~ t_{M-1} over M pairs.
Verdict CheckNoiseOfNeighbours(const GradientSample& sample, double false_alarm);

// From the gradients alone, for independent batches (iid, without_replacement): mean mu = X'(Xw - y)/N and covariance
// C = (1/n) [tau^2 X'X/N + f Cov_N(x_i (x_i'w - y_i))], f = 1 or (N-n)/(N-1). Asymptotic in m: the thresholds leave
// room.
Verdict CheckMean(const GradientSample& sample, double false_alarm);  // T4: Hotelling against F(d, m-d)
Verdict CheckTrace(const GradientSample& sample);                     // T5: z of (g-mu)'C^-1(g-mu), mean d; |z| <= 7
Verdict CheckOperatorNorm(const GradientSample& sample, double false_alarm);  // T6: ||C^-1/2 S C^-1/2 - I||
Verdict CheckOffDiagonals(const GradientSample& sample);  // T7: largest |z| of whitened covariances; <= 7
Verdict CheckNeighbours(const GradientSample& sample);    // T8: z of u_k'u_{k+1}, u whitened; |z| <= 7

// From the batches alone. Number of repeated rows within batches: 0 without replacement.
Verdict CheckDistinctRows(const GradientSample& sample);

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_CORE_GRADIENT_LAW_CHECKS_H_
