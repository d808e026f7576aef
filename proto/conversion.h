#ifndef GRADORACLE_PROTO_CONVERSION_H_
#define GRADORACLE_PROTO_CONVERSION_H_

#include <cstdint>
#include <string>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/budget.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"
#include "gradoracle/v1/oracle.pb.h"

// The one place where messages become core types and back. Conversion is mechanical; whether a query is acceptable is
// decided by core/query_policy.h alone.
namespace gradoracle {

enum class ElementType { kFloat64, kFloat32 };
size_t ElementSize(ElementType type);  // 8 or 4

// A stream request beyond the query itself.
struct StreamOptions {
  ElementType element_type = ElementType::kFloat64;
  int64_t first_gradient = 0;
  int64_t max_chunk_gradients = 0;  // 0: the server's choice
};

// Errors: kInvalidArgument ELEMENT_TYPE_UNKNOWN; FIRST_GRADIENT_NEGATIVE, MAX_CHUNK_GRADIENTS_NEGATIVE.
absl::StatusOr<GradientQuery> QueryFromProto(const v1::GetGradientRequest& request);  // count = 1
absl::StatusOr<GradientQuery> QueryFromProto(const v1::StreamGradientsRequest& request);
absl::StatusOr<ElementType> ElementTypeFromProto(v1::ElementType type);
absl::StatusOr<StreamOptions> StreamOptionsFromProto(const v1::StreamGradientsRequest& request);
v1::StreamGradientsRequest ToProto(const GradientQuery& query, const StreamOptions& options);
v1::GetGradientRequest ToUnaryProto(const GradientQuery& query, ElementType element_type);

v1::GetInfoResponse ToProto(const OracleInfo& info);
// Errors: kDataLoss when the message is not a complete description (unknown enum value, dimension < 1 ...).
absl::StatusOr<OracleInfo> InfoFromProto(const v1::GetInfoResponse& response);

v1::GetBudgetResponse ToProto(const Budget& budget);
// Errors: kDataLoss BUDGET_INVALID (negative, or in another unit).
absl::StatusOr<Budget> BudgetFromProto(const v1::GetBudgetResponse& response);

// Gradients to little-endian bytes (appending to `payload`) and back. Decoding writes straight into `block`, (k, d).
// Errors: kDataLoss when payload.size() != k * d * ElementSize(type).
void EncodeGradients(const Eigen::Ref<const RowMajorMatrix>& gradients, ElementType type, std::string& payload);
// The same into memory of k * d * ElementSize(type) bytes, of any alignment.
void EncodeGradientsTo(const Eigen::Ref<const RowMajorMatrix>& gradients, ElementType type, char* out);
absl::Status DecodeGradients(absl::string_view payload, ElementType type, Eigen::Ref<RowMajorMatrix> block);

}  // namespace gradoracle

#endif  // GRADORACLE_PROTO_CONVERSION_H_
