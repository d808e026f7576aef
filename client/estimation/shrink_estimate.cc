#include "client/estimation/shrink_estimate.h"

#include <utility>

#include "Eigen/Eigenvalues"
#include "client/estimation/unit_diagonal.h"
#include "core/status_macros.h"

namespace gradoracle {

absl::Status ShrinkEstimate(ShrinkageMethod method, const StreamingCovariance& stream,
                            const FourthMoment* fourth_moment, HessianEstimate& estimate) {
  if (method == ShrinkageMethod::kNone) return absl::OkStatus();
  ShrunkCovariance shrunk;
  if (method == ShrinkageMethod::kLedoitWolf && fourth_moment != nullptr) {
    // The gradients' fourth moment and covariance are in the same units; the diagonal has been imposed since.
    const Eigen::MatrixXd scatter = stream.Scatter();
    shrunk.intensity = LedoitWolfIntensity(scatter / static_cast<double>(stream.count() - 1), stream.count(),
                                           fourth_moment->AboutMean(stream.Mean(), scatter));
    shrunk.matrix = ShrinkTowardsIdentity(estimate.hessian, *shrunk.intensity);
  } else {
    GRADORACLE_ASSIGN_OR_RETURN(shrunk, Shrink(method, estimate.hessian, stream.count()));
  }
  if (estimate.unit_diagonal && shrunk.matrix.diagonal().minCoeff() > 0) {
    ImposeUnitDiagonal(UnitDiagonalScale(shrunk.matrix), shrunk.matrix);
  }
  estimate.hessian = std::move(shrunk.matrix);
  estimate.eigenvalues =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(estimate.hessian, Eigen::EigenvaluesOnly).eigenvalues().reverse();
  estimate.trace = estimate.hessian.trace();
  estimate.effective_rank = estimate.eigenvalues(0) > 0 ? estimate.trace / estimate.eigenvalues(0) : 0;
  estimate.shrinkage = {method, shrunk.intensity, shrunk.spikes};
  return absl::OkStatus();
}

}  // namespace gradoracle
