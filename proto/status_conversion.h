#ifndef GRADORACLE_PROTO_STATUS_CONVERSION_H_
#define GRADORACLE_PROTO_STATUS_CONVERSION_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace gradoracle {

// absl::Status <-> grpc::Status, all sixteen error codes and OK, message, reason and field (core/errors.h). On the wire
// reason is google.rpc.ErrorInfo{reason, domain "gradoracle"}; the field is a BadRequest violation for
// INVALID_ARGUMENT and OUT_OF_RANGE, a PreconditionFailure subject for FAILED_PRECONDITION, ErrorInfo metadata "field"
// otherwise. A quota is a QuotaFailure, and for programs ErrorInfo metadata limit, spent, requested, remaining. Both
// directions are inverse to each other. A status from elsewhere (no details, garbled details) keeps
// code and message.
grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace gradoracle

#endif  // GRADORACLE_PROTO_STATUS_CONVERSION_H_
