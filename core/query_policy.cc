#include "core/query_policy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr size_t kLongestRequestId = 128;
// Weights a caller projected onto the ball must not be refused for the last bits of their norm.
constexpr double kNormSlack = 1e-13;

constexpr uint64_t kExponentMask = 0x7ff0000000000000;
constexpr uint64_t kFractionMask = 0x000fffffffffffff;

// Classes of IEEE doubles by bit pattern: comparisons would call a subnormal zero once DAZ is set.
bool IsFinite(uint64_t bits) { return (bits & kExponentMask) != kExponentMask; }
bool IsSubnormal(uint64_t bits) { return (bits & kExponentMask) == 0 && (bits & kFractionMask) != 0; }

absl::Status CheckEntries(const Eigen::VectorXd& weights) {
  for (Eigen::Index j = 0; j < weights.size(); ++j) {
    if (IsFinite(std::bit_cast<uint64_t>(weights[j]))) continue;
    return InvalidField("WEIGHTS_NOT_FINITE", "weights",
                        absl::StrFormat("weights[%d] is %g; every entry must be finite", j, weights[j]));
  }
  for (Eigen::Index j = 0; j < weights.size(); ++j) {
    const uint64_t bits = std::bit_cast<uint64_t>(weights[j]);
    if (!IsSubnormal(bits)) continue;
    return InvalidField(
        "WEIGHTS_SUBNORMAL", "weights",
        absl::StrFormat(
            "weights[%d] is subnormal (bits 0x%016x); every entry must be 0 or at least 2.2250738585072014e-308 "
            "in magnitude",
            j, bits));
  }
  return absl::OkStatus();
}

// Largest entry first, so that no square overflows; infinite only when the norm itself is.
double EuclideanNorm(const Eigen::VectorXd& weights) {
  const double largest = weights.cwiseAbs().maxCoeff();
  if (largest == 0) return 0;
  double sum = 0;
  for (const double entry : weights) {
    const double ratio = entry / largest;
    sum += ratio * ratio;
  }
  return largest * std::sqrt(sum);
}

absl::Status CheckWeights(const Eigen::VectorXd& weights, const OracleInfo& info) {
  if (weights.size() != info.dimension || info.dimension < 1) {
    return InvalidField(
        "WEIGHTS_DIMENSION", "weights",
        absl::StrCat("weights has ", weights.size(), " entries; must have dimension = ", info.dimension));
  }
  GRADORACLE_RETURN_IF_ERROR(CheckEntries(weights));
  const double norm = EuclideanNorm(weights);
  if (!(norm * (1 - kNormSlack) <= info.limits.max_weights_norm)) {
    return FieldOutOfRange("WEIGHTS_NORM", "weights",
                           absl::StrFormat("weights has Euclidean norm %.15g; must be at most limits.max_weights_norm "
                                           "= %.15g",
                                           norm, info.limits.max_weights_norm));
  }
  return absl::OkStatus();
}

absl::Status CheckBatchSize(int64_t batch_size, const QueryLimits& limits) {
  const std::string allowed = absl::StrCat("must be at least ", limits.min_batch_size, " and at most ",
                                           limits.max_batch_size, " (limits.min_batch_size, limits.max_batch_size)");
  const std::string message = absl::StrCat("batch_size is ", batch_size, "; ", allowed);
  if (batch_size < 1) return InvalidField("BATCH_SIZE_NOT_POSITIVE", "batch_size", message);
  if (batch_size < limits.min_batch_size) return FieldOutOfRange("BATCH_SIZE_TOO_SMALL", "batch_size", message);
  if (batch_size > limits.max_batch_size) return FieldOutOfRange("BATCH_SIZE_TOO_LARGE", "batch_size", message);
  return absl::OkStatus();
}

absl::Status CheckCount(int64_t count, const QueryLimits& limits) {
  const std::string message =
      absl::StrCat("count is ", count, "; must be at least 1 and at most ", limits.max_count, " (limits.max_count)");
  if (count < 1) return InvalidField("COUNT_NOT_POSITIVE", "count", message);
  if (count > limits.max_count) return FieldOutOfRange("COUNT_TOO_LARGE", "count", message);
  return absl::OkStatus();
}

absl::Status CheckNoise(const GradientQuery& query, const NoiseInfo& noise) {
  if (query.curvature_probe && query.total_noise_variance.has_value()) {
    return InvalidField("NOISE_CONFLICT", "total_noise_variance",
                        absl::StrFormat("total_noise_variance is %.15g together with curvature_probe; at most one of "
                                        "the two may be asked for",
                                        *query.total_noise_variance));
  }
  if (query.curvature_probe && !noise.curvature_probe) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "CURVATURE_PROBE_NOT_OFFERED", "curvature_probe",
                     "curvature_probe is true; must be false, this oracle does not offer it");
  }
  if (!query.total_noise_variance.has_value()) return absl::OkStatus();
  const std::vector<double>& offered = noise.extra_variances;
  if (std::find(offered.begin(), offered.end(), *query.total_noise_variance) != offered.end()) return absl::OkStatus();
  const auto append_number = [](std::string* out, double value) { absl::StrAppendFormat(out, "%.15g", value); };
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "NOISE_VARIANCE_NOT_OFFERED", "total_noise_variance",
      absl::StrFormat("total_noise_variance is %.15g; must be %s", *query.total_noise_variance,
                      offered.empty() ? "absent, this oracle offers none but its rule's"
                                      : absl::StrCat("one of ", absl::StrJoin(offered, ", ", append_number))));
}

absl::Status CheckRequestId(const std::string& request_id) {
  if (request_id.size() > kLongestRequestId) {
    return InvalidField(
        "REQUEST_ID_INVALID", "request_id",
        absl::StrCat("request_id has ", request_id.size(), " characters; must have at most ", kLongestRequestId));
  }
  for (size_t i = 0; i < request_id.size(); ++i) {
    const unsigned char character = static_cast<unsigned char>(request_id[i]);
    if (character >= 0x20 && character <= 0x7e) continue;
    return InvalidField("REQUEST_ID_INVALID", "request_id",
                        absl::StrFormat("request_id[%d] is the byte 0x%02x; every character must be printable ASCII "
                                        "(0x20 to 0x7e)",
                                        i, character));
  }
  return absl::OkStatus();
}

void AppendWord(std::string& bytes, uint64_t word) {
  for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>((word >> shift) & 0xff));
}

}  // namespace

absl::Status ValidateQuery(const GradientQuery& query, const OracleInfo& info) {
  GRADORACLE_RETURN_IF_ERROR(CheckWeights(query.weights, info));
  GRADORACLE_RETURN_IF_ERROR(CheckBatchSize(query.batch_size, info.limits));
  GRADORACLE_RETURN_IF_ERROR(CheckCount(query.count, info.limits));
  GRADORACLE_RETURN_IF_ERROR(CheckNoise(query, info.noise));
  return CheckRequestId(query.request_id);
}

std::string QueryDigest(const GradientQuery& query, const OracleInfo& info) {
  // Every field has a fixed length or its length before it, so that no two queries share an encoding.
  std::string bytes = "gradoracle/query/v1";
  AppendWord(bytes, info.dataset_version.size());
  bytes += info.dataset_version;
  AppendWord(bytes, static_cast<uint64_t>(query.weights.size()));
  for (const double entry : query.weights) AppendWord(bytes, std::bit_cast<uint64_t>(entry));
  AppendWord(bytes, static_cast<uint64_t>(query.batch_size));
  AppendWord(bytes, static_cast<uint64_t>(query.count));
  AppendWord(bytes, query.curvature_probe ? 1 : 0);
  AppendWord(bytes, query.total_noise_variance.has_value() ? 1 : 0);
  AppendWord(bytes, std::bit_cast<uint64_t>(query.total_noise_variance.value_or(0.0)));
  return Sha256(bytes);
}

}  // namespace gradoracle
