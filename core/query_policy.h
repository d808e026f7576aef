#ifndef GRADORACLE_CORE_QUERY_POLICY_H_
#define GRADORACLE_CORE_QUERY_POLICY_H_

#include <string>

#include "absl/status/status.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"

namespace gradoracle {

// The one check every query passes, whether it came over the wire or from C++, before any work, allocation or charge.
// Looks at, in this order: dimension of the weights, finiteness, subnormals (by bit pattern, so that it holds under
// FTZ/DAZ too), their norm (a scaled two-pass norm that cannot overflow; a relative 1e-13 above the limit is let pass,
// so that weights a caller projected onto the ball are not refused for their last bits), batch size, count, noise,
// request id. Errors, each naming the field, its value and what is allowed:
//   kInvalidArgument  WEIGHTS_DIMENSION, WEIGHTS_NOT_FINITE, WEIGHTS_SUBNORMAL, BATCH_SIZE_NOT_POSITIVE,
//                     COUNT_NOT_POSITIVE, REQUEST_ID_INVALID, NOISE_CONFLICT (probe and variance both asked)
//   kOutOfRange       WEIGHTS_NORM, BATCH_SIZE_TOO_SMALL, BATCH_SIZE_TOO_LARGE, COUNT_TOO_LARGE
//   kFailedPrecondition NOISE_VARIANCE_NOT_OFFERED, CURVATURE_PROBE_NOT_OFFERED
absl::Status ValidateQuery(const GradientQuery& query, const OracleInfo& info);

// SHA-256 (32 raw bytes) over a canonical encoding of everything that decides the answer: data-set version, weights
// (bit patterns), batch size, count, noise choice. Not the request id, not the range or element type asked for.
std::string QueryDigest(const GradientQuery& query, const OracleInfo& info);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_QUERY_POLICY_H_
