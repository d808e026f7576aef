#ifndef GRADORACLE_CLIENT_OPTIMISE_POOLED_ORACLES_H_
#define GRADORACLE_CLIENT_OPTIMISE_POOLED_ORACLES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/estimation/noise_level.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"

namespace gradoracle {

// An oracle with the name that messages call it by (HOST:PORT).
struct NamedOracle {
  std::string name;
  GradientSource* source = nullptr;  // must outlive whatever is made of it
};

// Several oracles, each holding its own N_j rows in agreed units, as one. With shares p_j = N_j / N of all N rows, the
// pooled loss is sum p_j loss_j, hence
//   pooled gradient  g = sum p_j g_j            (mean: the gradient of all rows; minimiser: pooled least squares)
//   pooled Hessian   H = sum p_j H_j = Cov( sum sqrt(p_j n/tau_j^2) g_j )   for independent g_j with Cov (tau_j^2/n)
//   H_j.
// One pooled gradient asks every oracle for one. Not thread-safe.
class PooledOracles {
 public:
  // Asks each oracle for its info. Errors: kInvalidArgument NO_ORACLE; ORACLES_DISAGREE, naming the two oracles and
  // what differs (dimension, loss, scaling), also when two oracles each standardised their own rows, which are no
  // agreed units; those of Info().
  static absl::StatusOr<PooledOracles> Create(std::vector<NamedOracle> oracles);

  int64_t oracle_count() const { return static_cast<int64_t>(members_.size()); }
  int64_t dimension() const { return members_.front().info.dimension; }
  int64_t row_count() const { return row_count_; }
  bool unit_diagonal() const { return members_.size() == 1 && HasUnitDiagonal(members_.front().info); }
  bool standardised_units() const { return members_.front().info.scaling != "raw"; }
  // Two oracles that seem to hold the same rows (same data set version and row count), in one line; empty: none.
  const std::string& warning() const { return warning_; }
  double max_weights_norm() const;                  // the tightest
  int64_t min_batch_size() const;                   // the tightest
  int64_t gradients() const { return gradients_; }  // asked for so far, over all oracles

  // `count` pooled gradients at `weights` into `sink`, each oracle at its smallest noise level, or at its rule's.
  enum class Level { kSmallest, kRule };
  absl::Status Gradients(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count, Level level,
                         GradientSink sink);

  // `count` vectors whose covariance is the pooled H (up to a scale where unit_diagonal() and tau^2 is unknown), each
  // oracle at its CurvatureNoiseLevel or its rule's. Their mean means nothing. Errors: those of CurvatureNoiseLevel.
  enum class CurvatureLevel { kBest, kRule };
  absl::Status Curvature(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count, CurvatureLevel level,
                         std::optional<double> assumed_total, GradientSink sink);

  // Whether every oracle may have the total noise variance that a caller gives. Errors: those of ChooseNoise, naming
  // the oracle if there are several.
  absl::Status CheckTotalNoiseVariance(int64_t batch_size, double given) const;

  // Variance of a pooled gradient, per unit of H, if the oracles' Hessians are alike: sum p_j^2 tau_j^2 / n, with
  // `unknown_total` for a tau^2 that is not known. For predictions.
  double NoiseOverBatch(int64_t batch_size, Level level, double unknown_total) const;

 private:
  struct Member {
    NamedOracle oracle;
    OracleInfo info;
    double share = 1;  // p_j
  };
  // What to ask one oracle, and the factor its answer enters the sum with.
  struct Term {
    NoiseLevel level;
    double factor = 1;
  };

  absl::Status Sum(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count, const std::vector<Term>& terms,
                   GradientSink sink);
  NoiseLevel LevelOf(const Member& member, int64_t batch_size, Level level) const;

  std::vector<Member> members_;
  std::string warning_;
  int64_t row_count_ = 0;
  int64_t gradients_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_OPTIMISE_POOLED_ORACLES_H_
