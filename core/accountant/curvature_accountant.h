#ifndef GRADORACLE_CORE_ACCOUNTANT_CURVATURE_ACCOUNTANT_H_
#define GRADORACLE_CORE_ACCOUNTANT_CURVATURE_ACCOUNTANT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "core/local_oracle.h"
#include "core/oracle_info.h"
#include "core/regression_data.h"

// How well a caller can know the Hessian H after m gradients, by the attacks known to this project: predicted from the
// owner's own view of the data. For the owner only: every number is computed from the data. It bounds known attacks,
// not all attacks.
namespace gradoracle {

// What an oracle gives away, as far as curvature goes.
struct CurvatureProfile {
  Eigen::MatrixXd hessian;  // H, (d, d), in served units, not zero
  double residual_variance = 0;
  // Kurtosis E (u'x)^4 / (E (u'x)^2)^2 of the features along the top eigenvector of H: 3 for Gaussian ones. Heavy tails
  // make attackers without trimming err more.
  double top_kurtosis = 3;
  // E ||x||^2 xx' - H^2, (d, d): d times the covariance of x x'u, in the mean over directions u. Empty: tr(H) H, as
  // Gaussian features have but for a term of rank one.
  Eigen::MatrixXd slope_moment = {};
};
// Of the oracle's data and least-squares fit. O(N d^2 + d^3).
CurvatureProfile ProfileOf(const LocalOracle& oracle);

struct LeakagePrediction {
  std::string attack;
  // Predicted ||H_hat - H||_2 / ||H||_2: the mean, and the ends of the interval a single run should fall into. Above 1
  // the estimate is worse than none.
  double relative_error = 0;
  double lower = 0;
  double upper = 0;
  std::vector<std::string> assumptions;
};

// Predictions at one batch size for any count. The laws of the norms are simulated once, when it is made.
class LeakageModel {
 public:
  // Attacks, by name (s: the share of H in a reply's covariance, v: the variance of its isotropic part, f: the
  // sampling's variance factor, R: max_weights_norm, r: effective rank):
  //   covariance       passive (theory 1.2): C = v I + s H, error (kappa_C / sqrt m + tr C / m) / (s ||H||), where
  //   kappa
  //                    is CovarianceNoiseNorm. Without isotropic noise s drops out. With it the attacker subtracts v I
  //                    (6b) and goes far from the optimum, where the rows' own noise is largest:
  //                    s = f (sigma^2 + R^2 ||H||) / n.
  //   unit_diagonal    the same rescaled (1.4.6), where H has unit diagonal, there is no isotropic noise and d <= 512
  //   curvature_probe  as covariance, where offered; at any weights
  //   active           slopes (3.2): rows of covariance M = v I + (tau^2 H + f R^2 S / d)/n, S the slope_moment, tau^2
  //   the
  //                    least that can be asked for; error sqrt(d/m) / R SlopeNoiseNorm(M) / ||H||. Needs m > d. In
  //                    shuffled epochs whole epochs average the rows' part away: f = 0 here.
  //   combined         the best passive one and the active one, weighted (3.5)
  // The intervals: two standard deviations of a single run, and a factor of 1.25 for what the laws leave out; the lower
  // ends are those for Gaussian features (whose tails cost an attacker least), without the term in 1/m; the upper ends
  // have the tails of the features. Requires 1 <= batch_size <= LargestBatchSize.
  LeakageModel(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
               int64_t batch_size);

  // Every attack that can be mounted with `count` >= 1 gradients.
  std::vector<LeakagePrediction> Predict(int64_t count) const;
  // The one with the smallest lower end.
  LeakagePrediction Strongest(int64_t count) const;

 private:
  // error(m) = linear / sqrt(m) + quadratic / m.
  struct Attack {
    std::string name;
    double linear = 0;
    double quadratic = 0;
    double lowest = 0;              // linear, at the lower end
    double relative_deviation = 0;  // of a single run
    double tails = 1;               // factor of the upper end
    int64_t smallest_count = 1;
    std::vector<std::string> assumptions;
  };
  static LeakagePrediction PredictAttack(const Attack& attack, int64_t count);

  std::vector<Attack> attacks_;
};

// One-off form of LeakageModel::Predict.
std::vector<LeakagePrediction> PredictLeakage(const OracleInfo& info, const DefencePolicy& defence,
                                              const CurvatureProfile& profile, int64_t batch_size, int64_t count);

// The strongest attack over the batch sizes a caller may choose: both ends of the limits, between which every error is
// monotone, but for watching under clipping, which is best at N/2 and looked at there too.
class CurvatureAccountant {
 public:
  CurvatureAccountant(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile);

  LeakagePrediction Strongest(int64_t count) const;

  // The most gradients after which the strongest attack's lower end is still at least `relative_error`; 0 when none.
  // At most 2^53. Errors: kInvalidArgument CURVATURE_FLOOR_INVALID unless 0 < relative_error < 1 (an estimate of zero
  // errs by 1 without a single gradient).
  absl::StatusOr<int64_t> LargestCount(double relative_error) const;

 private:
  std::vector<LeakageModel> models_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ACCOUNTANT_CURVATURE_ACCOUNTANT_H_
