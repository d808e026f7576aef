#ifndef GRADORACLE_CLIENT_ESTIMATION_SPLIT_LIMIT_H_
#define GRADORACLE_CLIENT_ESTIMATION_SPLIT_LIMIT_H_

#include <array>
#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "client/estimation/scatter_groups.h"
#include "client/estimation/streaming_covariance.h"

// How far a sample covariance is from its expectation, in spectral norm, told from the same stream [theory 1.3,
// split+z].
namespace gradoracle {

// Random split differences D of a stream: each has expectation 0 and the covariance of Chat - C,
// Chat = scatter / (m - 1).
//
// For slot q with groups a, b of nu_a, nu_b degrees of freedom, E A = nu_a C and Cov(A) = nu_a V, V the covariance of
// one degree of freedom; so
//   T_q = sqrt(nu_b/nu_a) A - sqrt(nu_a/nu_b) B     has mean 0 and covariance (nu_a + nu_b) V,
//   D = sum_q e_q T_q / sqrt(nu (m - 1)),  nu = sum over slots of nu_a + nu_b,  e_q = +-1,
// has covariance V / (m - 1), that of Chat - C. With equal groups this is (1/m) sum e_q (A - B), the theory's form up
// to the degree of freedom lost per block; unequal ones (an unfinished block, an unpaired one, merged streams) cost
// nothing, and every gradient is used. Exact for Gaussian gradients; see kurtosis_share() for others.
class SplitDifferences {
 public:
  // `stream` must outlive this and stay as it is.
  explicit SplitDifferences(const StreamingCovariance& stream);

  // Whether at least 8 slots have both groups; Draw requires it.
  bool available() const { return available_; }
  // Degrees of freedom of the blocks over gradients, about (B - 1)/B for blocks of B: the share of an excess kurtosis
  // that D sees.
  double kurtosis_share() const { return kurtosis_share_; }

  // lower (its lower triangle), shape (d, d), = D for fresh random signs.
  void Draw(absl::BitGenRef generator, Eigen::MatrixXd& lower) const;

 private:
  const StreamingCovariance& stream_;
  std::array<double, ScatterGroups::kGroups> factors_{};  // of A and B in T_q, scaled; 0 where a slot lacks its partner
  Eigen::MatrixXd open_scatter_;                          // empty when the block being filled counts for nothing
  bool available_ = false;
  double kurtosis_share_ = 1;
};

// Spectral norms of `draws` split differences; empty when they are not available.
std::vector<double> SplitDifferenceNorms(const StreamingCovariance& stream, absl::BitGenRef generator, int draws);

// What the rule must know of the stream beside the norms.
struct SplitShape {
  double effective_rank = 1;  // of Chat, >= 1
  double count = 0;           // m
  int64_t batch_size = 1;     // n
  double kurtosis_share = 1;  // SplitDifferences::kurtosis_share()
};

struct SplitLimit {
  double mean = 0;   // f mean_D: what to expect of ||Chat - C||
  double upper = 0;  // f (mean_D + 1.5 z_level sd_D): ||Chat - C|| stays below it with probability `level`
};

// f = skew * kurtosis, what a split difference misses for Gaussian features [theory 1.1.5]: gradients are then s z with
// s^2 ~ chi^2_n / n, E s^4 = 1 + 2/n, E s^6 = (1 + 2/n)(1 + 4/n).
//   skew = 1 + 0.5 sqrt(r/m) (1 + 4/n)/sqrt(1 + 2/n): D is symmetric, the error leans upwards. Its edge is
//     2 sqrt(k2) + k3/k2 to second order in the free cumulants k2 = y E s^4, k3 = y^2 E s^6, y = r/m; D lacks the
//     second term. For large n this is theory's 1 + 0.5 sqrt(r/m).
//   kurtosis = sqrt((2 + 6/n)/(2 + 6 share/n)): Var(u'Chat u) is (2 + 3 excess)/m with excess 2/n, of which D sees the
//     share in the second term.
// z_level is the standard normal quantile. 1.5: chosen by the grid of docs/error-bars.md; theory's 1.25 missed .93
// for decaying spectra. norms: at least 2; 0 < level < 1.
SplitLimit CombineSplitNorms(const std::vector<double>& norms, const SplitShape& shape, double level);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SPLIT_LIMIT_H_
