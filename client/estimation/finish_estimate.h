#ifndef GRADORACLE_CLIENT_ESTIMATION_FINISH_ESTIMATE_H_
#define GRADORACLE_CLIENT_ESTIMATION_FINISH_ESTIMATE_H_

#include <cstdint>
#include <functional>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "client/estimation/hessian_estimator.h"

namespace gradoracle {

// Draws one random split difference: mean 0 and the covariance of H_hat - H, in the lower triangle of a (d, d) matrix.
using DifferenceDraw = std::function<void(absl::BitGenRef generator, Eigen::MatrixXd& lower)>;

// What every estimator ends with, whatever it asked for.
struct UnfinishedEstimate {
  Eigen::MatrixXd hessian;       // H_hat, symmetric, finite
  DifferenceDraw difference;     // empty: no error limit
  int64_t count = 0;             // gradients behind H_hat, for the skew of the limit [theory 1.3]
  double kurtosis_share = 1;     // SplitDifferences::kurtosis_share()
  bool unit_diagonal = false;    // impose diag H = 1
  double smallest_diagonal = 0;  // the diagonal is imposed only where every entry of it exceeds this, >= 0
};

// Fills, in an estimate whose batch_size is set, hessian, raw_diagonal, unseen_features, unit_diagonal, eigenvalues,
// trace, effective_rank and relative_error of `estimate`. 24 differences are drawn; with the unit diagonal imposed each
// goes through its linearisation (unit_diagonal.h), so that the limit tightens with the error. 0.5 < level < 1.
void FinishEstimate(UnfinishedEstimate unfinished, double level, absl::BitGenRef generator, HessianEstimate& estimate);

// Sets estimate.not_converged: every feature whose diagonal, before it was imposed, exceeds 1 by more than 0.6 (by more
// than 5 sqrt(2/(count-1)), its noise, when that is larger). For estimators that distance from the optimum can bias,
// where diag H = 1 is known. feature_names: d names, or none.
void FindExcessDiagonal(const std::vector<std::string>& feature_names, int64_t count, HessianEstimate& estimate);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_FINISH_ESTIMATE_H_
