#ifndef GRADORACLE_CLIENT_ESTIMATION_SHRINK_ESTIMATE_H_
#define GRADORACLE_CLIENT_ESTIMATION_SHRINK_ESTIMATE_H_

#include "absl/status/status.h"
#include "client/estimation/fourth_moment.h"
#include "client/estimation/hessian_estimator.h"
#include "client/estimation/shrinkage.h"
#include "client/estimation/streaming_covariance.h"

namespace gradoracle {

// Replaces estimate.hessian by the shrunk one and eigenvalues, trace and effective_rank by its own; sets
// estimate.shrinkage. The unit diagonal, if it had been imposed, is imposed again. kNone changes nothing.
// stream: the gradients that the estimate comes from. fourth_moment: of the same gradients; only kLedoitWolf needs it,
// whose intensity is that of the covariance before the diagonal was imposed. relative_error is left as it is.
// Errors: those of Shrink.
absl::Status ShrinkEstimate(ShrinkageMethod method, const StreamingCovariance& stream,
                            const FourthMoment* fourth_moment, HessianEstimate& estimate);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_SHRINK_ESTIMATE_H_
