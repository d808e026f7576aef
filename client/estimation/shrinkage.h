#ifndef GRADORACLE_CLIENT_ESTIMATION_SHRINKAGE_H_
#define GRADORACLE_CLIENT_ESTIMATION_SHRINKAGE_H_

#include <cstdint>
#include <optional>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Covariances to be inverted: a sample covariance S of m gradients in d dimensions spreads the eigenvalues of the true
// one, C, and its small ones suffer most, so that S^-1 overstates (E S^-1 = C^-1 (m-1)/(m-d-2), and none exists for
// m <= d). The methods below pull the eigenvalues together again and keep the eigenvectors [theory 2].
//
// What it buys is a better inverse, condition number of S_shrunk^-1 C. The largest eigenvalues, and with them the
// relative error ||S - C||_2 / ||C||_2, hardly change unless C is nearly a multiple of the identity: to *report* a
// Hessian take S itself. Every method commutes with scaling and rotating the gradients, and so applies to
// H_hat = (n / tau^2) S as well as to S. The mean is taken for estimated: S has divisor m - 1, and degrees of freedom
// nu = m - 1 stand for the sample size of the formulas, save in Ledoit-Wolf's, which is scikit-learn's to rounding.
namespace gradoracle {

enum class ShrinkageMethod {
  kNone,        // S as it is
  kLedoitWolf,  // towards (tr S / d) I, weight by the observed fourth moment [Ledoit, Wolf 2004]
  kOas,         // the same target, weight for Gaussian gradients [Chen, Wiesel, Eldar, Hero 2010]
  kNonlinear,   // each eigenvalue by a kernel estimate of the spectral density [Ledoit, Wolf 2020]
  kSpiked,      // a few eigenvalues above a flat rest [Donoho, Gavish, Johnstone 2018]
};

// "none", "ledoit_wolf", "oas", "nonlinear", "spiked". Errors: kInvalidArgument SHRINKAGE_UNKNOWN, listing them.
absl::StatusOr<ShrinkageMethod> ParseShrinkageMethod(absl::string_view name);
absl::string_view ShrinkageMethodName(ShrinkageMethod method);

// 13 for kNonlinear, 2 for the others.
int64_t FewestGradients(ShrinkageMethod method);

struct ShrunkCovariance {
  Eigen::MatrixXd matrix;           // (d, d), symmetric, in the units of S
  std::optional<double> intensity;  // kLedoitWolf, kOas: weight of the target, in [0, 1]
  std::optional<int64_t> spikes;    // kSpiked: eigenvalues told apart from the rest
};

// Shrinks `covariance` (d, d), symmetric, divisor m - 1, of `count` = m gradients. fourth_moment: sum |g_k - mean|^4 in
// the covariance's units (FourthMoment::AboutMean, times scale^2 for a covariance times scale); only kLedoitWolf needs
// it. Errors: kInvalidArgument COVARIANCE_SHAPE, COVARIANCE_NOT_FINITE, FOURTH_MOMENT_REQUIRED; kFailedPrecondition
// TOO_FEW_GRADIENTS (m < 2; m < 13 for kNonlinear).
absl::StatusOr<ShrunkCovariance> Shrink(ShrinkageMethod method, const Eigen::Ref<const Eigen::MatrixXd>& covariance,
                                        int64_t count, std::optional<double> fourth_moment = std::nullopt);

// (1 - intensity) S + intensity (tr S / d) I.
Eigen::MatrixXd ShrinkTowardsIdentity(const Eigen::Ref<const Eigen::MatrixXd>& covariance, double intensity);

// rho of Ledoit, Wolf 2004, S_shrunk = (1 - rho) S + rho t I, t = tr S / d: with S about the sample mean, divisor m,
//   rho = min(1, B2 / D2), D2 = |S - t I|_F^2, B2 = (1/m^2) sum_k |g_k g_k' - S|_F^2 = (fourth_moment/m - |S|_F^2)/m.
// `covariance` has divisor m - 1. 1 for a multiple of the identity, whose D2 is 0 (scikit-learn says 0 there: the
// matrix is the same).
double LedoitWolfIntensity(const Eigen::Ref<const Eigen::MatrixXd>& covariance, int64_t count, double fourth_moment);

// rho of Chen et al. 2010, (23), for Gaussian gradients, nu = m - 1:
//   rho = min(1, ((1 - 2/d) tr S^2 + tr^2 S) / ((nu + 1 - 2/d) (tr S^2 - tr^2 S / d))).
// scikit-learn leaves the 2/d out.
double OasIntensity(const Eigen::Ref<const Eigen::MatrixXd>& covariance, int64_t count);

// Analytical nonlinear shrinkage of the eigenvalues of S (ascending, all >= 0 up to rounding), nu = `degrees` >= 12.
// With y = d/nu, h = nu^(-1/3), h_j = h l_j, x_ij = (l_i - l_j)/h_j, K the Epanechnikov kernel and
//   f_i = mean_j 3/(4 sqrt5 h_j) (1 - x_ij^2/5)_+,  H_i its Hilbert transform,
//   l_i -> l_i / ((pi y l_i f_i)^2 + (1 - y - pi y l_i H_i)^2)          for nu >= d;
// for nu < d the means run over the nu positive eigenvalues, l_i -> 1/(pi^2 l_i (f_i^2 + H_i^2)), and the null ones
// become one positive value. Rough where nu is within some 30 % of d. Exactly collinear features (fewer positive
// eigenvalues than min(d, nu)) count as fewer dimensions; the surplus zeros stay zero.
Eigen::VectorXd NonlinearEigenvalues(const Eigen::VectorXd& eigenvalues, int64_t degrees);

enum class SpikeLoss {
  kOperator,   // least ||S_shrunk - C||_2 in the limit; jumps to 1 + sqrt y at the edge of the bulk
  kFrobenius,  // least |S_shrunk - C|_F; continuous
};

// Spiked-model shrinkage of the eigenvalues of S (ascending), nu = `degrees`, y = d/nu. The bulk's level s2 is the
// median of the positive eigenvalues over that of the Marchenko-Pastur law; L = l/s2 above (1 + sqrt y)^2 is a spike,
//   ell = ((L+1-y) + sqrt((L+1-y)^2 - 4L))/2,  c2 = (1 - y/(ell-1)^2)/(1 + y/(ell-1)),
// and becomes s2 ell (operator) or s2 (ell c2 + 1 - c2) (Frobenius); all else becomes s2. Null eigenvalues as above.
struct SpikedEigenvalues {
  Eigen::VectorXd eigenvalues;  // (d)
  int64_t spikes = 0;
};
SpikedEigenvalues ShrinkSpiked(const Eigen::VectorXd& eigenvalues, int64_t degrees, SpikeLoss loss);

// Median of the Marchenko-Pastur law with ratio 0 < y <= 1 and unit variance.
double MarchenkoPasturMedian(double ratio);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SHRINKAGE_H_
