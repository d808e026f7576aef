#include "proto/conversion.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian and written from memory");
static_assert(std::numeric_limits<double>::is_iec559 && std::numeric_limits<float>::is_iec559);

void NoiseFromProto(const v1::NoiseChoice& noise, GradientQuery& query);
template <typename Request>
void QueryToProto(const GradientQuery& query, Request& request);
v1::ElementType ElementTypeToProto(ElementType type);
v1::NoiseRule NoiseRuleToProto(NoiseRule rule);
v1::Sampling SamplingToProto(Sampling sampling);
absl::StatusOr<NoiseRule> NoiseRuleFromProto(v1::NoiseRule rule);
absl::StatusOr<Sampling> SamplingFromProto(v1::Sampling sampling);
v1::DefenceInfo DefenceToProto(const DefencePolicy& policy);
DefencePolicy DefenceFromProto(const v1::DefenceInfo& defence);
absl::Status CheckComplete(const v1::GetInfoResponse& response);
absl::Status Incomplete(absl::string_view field, absl::string_view what);

}  // namespace

size_t ElementSize(ElementType type) { return type == ElementType::kFloat32 ? sizeof(float) : sizeof(double); }

absl::StatusOr<GradientQuery> QueryFromProto(const v1::GetGradientRequest& request) {
  GradientQuery query;
  query.weights = Eigen::Map<const Eigen::VectorXd>(request.weights().data(), request.weights_size());
  query.batch_size = request.batch_size();
  query.count = 1;
  NoiseFromProto(request.noise(), query);
  query.request_id = request.request_id();
  return query;
}

absl::StatusOr<GradientQuery> QueryFromProto(const v1::StreamGradientsRequest& request) {
  GradientQuery query;
  query.weights = Eigen::Map<const Eigen::VectorXd>(request.weights().data(), request.weights_size());
  query.batch_size = request.batch_size();
  query.count = request.count();
  NoiseFromProto(request.noise(), query);
  query.request_id = request.request_id();
  return query;
}

absl::StatusOr<ElementType> ElementTypeFromProto(v1::ElementType type) {
  switch (type) {
    case v1::ELEMENT_TYPE_UNSPECIFIED:
    case v1::ELEMENT_TYPE_FLOAT64:
      return ElementType::kFloat64;
    case v1::ELEMENT_TYPE_FLOAT32:
      return ElementType::kFloat32;
    default:
      return InvalidField("ELEMENT_TYPE_UNKNOWN", "element_type",
                          absl::StrCat("element_type is ", static_cast<int>(type),
                                       ", must be ELEMENT_TYPE_FLOAT64 (1) or ELEMENT_TYPE_FLOAT32 (2)"));
  }
}

absl::StatusOr<StreamOptions> StreamOptionsFromProto(const v1::StreamGradientsRequest& request) {
  StreamOptions options;
  GRADORACLE_ASSIGN_OR_RETURN(options.element_type, ElementTypeFromProto(request.element_type()));
  options.first_gradient = request.first_gradient();
  if (options.first_gradient < 0) {
    return InvalidField("FIRST_GRADIENT_NEGATIVE", "first_gradient",
                        absl::StrCat("first_gradient is ", options.first_gradient, ", must be at least 0"));
  }
  options.max_chunk_gradients = request.max_chunk_gradients();
  if (options.max_chunk_gradients < 0) {
    return InvalidField("MAX_CHUNK_GRADIENTS_NEGATIVE", "max_chunk_gradients",
                        absl::StrCat("max_chunk_gradients is ", options.max_chunk_gradients,
                                     ", must be at least 0 (0: the server's choice)"));
  }
  return options;
}

v1::StreamGradientsRequest ToProto(const GradientQuery& query, const StreamOptions& options) {
  v1::StreamGradientsRequest request;
  QueryToProto(query, request);
  request.set_count(query.count);
  request.set_element_type(ElementTypeToProto(options.element_type));
  request.set_first_gradient(options.first_gradient);
  request.set_max_chunk_gradients(options.max_chunk_gradients);
  return request;
}

v1::GetGradientRequest ToUnaryProto(const GradientQuery& query, ElementType element_type) {
  v1::GetGradientRequest request;
  QueryToProto(query, request);
  request.set_element_type(ElementTypeToProto(element_type));
  return request;
}

v1::GetInfoResponse ToProto(const OracleInfo& info) {
  v1::GetInfoResponse response;
  response.set_dimension(info.dimension);
  response.set_row_count(info.row_count);
  response.set_scaling(info.scaling);
  response.set_loss(info.loss);
  v1::NoiseInfo& noise = *response.mutable_noise();
  noise.set_rule(NoiseRuleToProto(info.noise.rule));
  if (info.noise.scale.has_value()) noise.set_scale(*info.noise.scale);
  if (info.noise.injected_variance.has_value()) noise.set_injected_variance(*info.noise.injected_variance);
  noise.mutable_extra_variances()->Add(info.noise.extra_variances.begin(), info.noise.extra_variances.end());
  noise.set_curvature_probe(info.noise.curvature_probe);
  noise.set_isotropic(info.noise.isotropic);
  *response.mutable_defence() = DefenceToProto(info.defence);
  response.set_sampling(SamplingToProto(info.sampling));
  v1::QueryLimits& limits = *response.mutable_limits();
  limits.set_min_batch_size(info.limits.min_batch_size);
  limits.set_max_batch_size(info.limits.max_batch_size);
  limits.set_max_count(info.limits.max_count);
  limits.set_max_weights_norm(info.limits.max_weights_norm);
  response.set_dataset_version(info.dataset_version);
  response.mutable_feature_names()->Assign(info.feature_names.begin(), info.feature_names.end());
  response.set_version(info.version);
  return response;
}

absl::StatusOr<OracleInfo> InfoFromProto(const v1::GetInfoResponse& response) {
  GRADORACLE_RETURN_IF_ERROR(CheckComplete(response));
  OracleInfo info;
  info.dimension = response.dimension();
  info.row_count = response.row_count();
  info.scaling = response.scaling();
  info.loss = response.loss();
  const v1::NoiseInfo& noise = response.noise();
  GRADORACLE_ASSIGN_OR_RETURN(info.noise.rule, NoiseRuleFromProto(noise.rule()));
  if (noise.has_scale()) info.noise.scale = noise.scale();
  if (noise.has_injected_variance()) info.noise.injected_variance = noise.injected_variance();
  info.noise.extra_variances.assign(noise.extra_variances().begin(), noise.extra_variances().end());
  info.noise.curvature_probe = noise.curvature_probe();
  info.noise.isotropic = noise.isotropic();
  info.defence = DefenceFromProto(response.defence());
  GRADORACLE_ASSIGN_OR_RETURN(info.sampling, SamplingFromProto(response.sampling()));
  info.limits.min_batch_size = response.limits().min_batch_size();
  info.limits.max_batch_size = response.limits().max_batch_size();
  info.limits.max_count = response.limits().max_count();
  info.limits.max_weights_norm = response.limits().max_weights_norm();
  info.dataset_version = response.dataset_version();
  info.feature_names.assign(response.feature_names().begin(), response.feature_names().end());
  info.version = response.version();
  return info;
}

v1::GetBudgetResponse ToProto(const Budget& budget) {
  v1::GetBudgetResponse response;
  if (budget.limit.has_value()) response.set_limit(*budget.limit);
  response.set_spent(budget.spent);
  response.set_unit(Budget::kUnit);
  return response;
}

absl::StatusOr<Budget> BudgetFromProto(const v1::GetBudgetResponse& response) {
  if (response.unit() != Budget::kUnit || response.limit() < 0 || response.spent() < 0) {
    return MakeError(absl::StatusCode::kDataLoss, "BUDGET_INVALID", "",
                     absl::StrCat("the oracle's answer is no budget: limit ", response.limit(), ", spent ",
                                  response.spent(), ", unit '", response.unit(), "'"));
  }
  Budget budget;
  if (response.has_limit()) budget.limit = response.limit();
  budget.spent = response.spent();
  return budget;
}

void EncodeGradients(const Eigen::Ref<const RowMajorMatrix>& gradients, ElementType type, std::string& payload) {
  const size_t start = payload.size();
  payload.resize(start + static_cast<size_t>(gradients.size()) * ElementSize(type));
  EncodeGradientsTo(gradients, type, payload.data() + start);
}

void EncodeGradientsTo(const Eigen::Ref<const RowMajorMatrix>& gradients, ElementType type, char* out) {
  const size_t row_bytes = static_cast<size_t>(gradients.cols()) * ElementSize(type);
  Eigen::RowVectorXf narrow;
  for (Eigen::Index k = 0; k < gradients.rows(); ++k, out += row_bytes) {
    if (type == ElementType::kFloat64) {
      std::memcpy(out, gradients.row(k).data(), row_bytes);
    } else {
      narrow = gradients.row(k).cast<float>();
      std::memcpy(out, narrow.data(), row_bytes);
    }
  }
}

absl::Status DecodeGradients(absl::string_view payload, ElementType type, Eigen::Ref<RowMajorMatrix> block) {
  const size_t row_bytes = static_cast<size_t>(block.cols()) * ElementSize(type);
  const size_t expected = row_bytes * static_cast<size_t>(block.rows());
  if (payload.size() != expected) {
    return MakeError(absl::StatusCode::kDataLoss, "PAYLOAD_SIZE", "gradients",
                     absl::StrCat("gradients holds ", payload.size(), " bytes, must hold ", expected, " for ",
                                  block.rows(), " x ", block.cols(), " elements of ", ElementSize(type), " bytes"));
  }
  const char* in = payload.data();
  Eigen::RowVectorXf narrow(type == ElementType::kFloat32 ? block.cols() : 0);
  for (Eigen::Index k = 0; k < block.rows(); ++k, in += row_bytes) {
    if (type == ElementType::kFloat64) {
      std::memcpy(block.row(k).data(), in, row_bytes);
    } else {
      std::memcpy(narrow.data(), in, row_bytes);
      block.row(k) = narrow.cast<double>();
    }
  }
  return absl::OkStatus();
}

namespace {

void NoiseFromProto(const v1::NoiseChoice& noise, GradientQuery& query) {
  if (noise.has_total_noise_variance()) query.total_noise_variance = noise.total_noise_variance();
  query.curvature_probe = noise.curvature_probe();  // false unless that alternative is set
}

// A query that asks for both cannot be said on the wire; the probe wins there, so both are kept apart by ValidateQuery.
template <typename Request>
void QueryToProto(const GradientQuery& query, Request& request) {
  request.mutable_weights()->Add(query.weights.data(), query.weights.data() + query.weights.size());
  request.set_batch_size(query.batch_size);
  if (query.total_noise_variance.has_value()) {
    request.mutable_noise()->set_total_noise_variance(*query.total_noise_variance);
  }
  if (query.curvature_probe) request.mutable_noise()->set_curvature_probe(true);
  request.set_request_id(query.request_id);
}

v1::ElementType ElementTypeToProto(ElementType type) {
  return type == ElementType::kFloat32 ? v1::ELEMENT_TYPE_FLOAT32 : v1::ELEMENT_TYPE_FLOAT64;
}

v1::NoiseRule NoiseRuleToProto(NoiseRule rule) {
  switch (rule) {
    case NoiseRule::kCalibrated:
      return v1::NOISE_RULE_CALIBRATED;
    case NoiseRule::kScaled:
      return v1::NOISE_RULE_SCALED;
    case NoiseRule::kFixed:
      return v1::NOISE_RULE_FIXED;
    case NoiseRule::kNone:
      return v1::NOISE_RULE_NONE;
  }
  return v1::NOISE_RULE_UNSPECIFIED;
}

v1::Sampling SamplingToProto(Sampling sampling) {
  switch (sampling) {
    case Sampling::kIid:
      return v1::SAMPLING_IID;
    case Sampling::kWithoutReplacement:
      return v1::SAMPLING_WITHOUT_REPLACEMENT;
    case Sampling::kShuffledEpochs:
      return v1::SAMPLING_SHUFFLED_EPOCHS;
    case Sampling::kPoisson:
      return v1::SAMPLING_POISSON;
  }
  return v1::SAMPLING_UNSPECIFIED;
}

absl::StatusOr<NoiseRule> NoiseRuleFromProto(v1::NoiseRule rule) {
  switch (rule) {
    case v1::NOISE_RULE_CALIBRATED:
      return NoiseRule::kCalibrated;
    case v1::NOISE_RULE_SCALED:
      return NoiseRule::kScaled;
    case v1::NOISE_RULE_FIXED:
      return NoiseRule::kFixed;
    case v1::NOISE_RULE_NONE:
      return NoiseRule::kNone;
    default:
      return Incomplete("noise.rule", absl::StrCat("is ", static_cast<int>(rule), ", unknown to this program"));
  }
}

absl::StatusOr<Sampling> SamplingFromProto(v1::Sampling sampling) {
  switch (sampling) {
    case v1::SAMPLING_IID:
      return Sampling::kIid;
    case v1::SAMPLING_WITHOUT_REPLACEMENT:
      return Sampling::kWithoutReplacement;
    case v1::SAMPLING_SHUFFLED_EPOCHS:
      return Sampling::kShuffledEpochs;
    case v1::SAMPLING_POISSON:
      return Sampling::kPoisson;
    default:
      return Incomplete("sampling", absl::StrCat("is ", static_cast<int>(sampling), ", unknown to this program"));
  }
}

v1::DefenceInfo DefenceToProto(const DefencePolicy& policy) {
  v1::DefenceInfo defence;
  if (policy.clip_norm.has_value()) defence.set_clip_norm(*policy.clip_norm);
  if (policy.gradient_noise_multiplier.has_value()) {
    defence.set_gradient_noise_multiplier(*policy.gradient_noise_multiplier);
  }
  if (policy.mask_variance.has_value()) defence.set_mask_variance(*policy.mask_variance);
  if (policy.weights_grid.has_value()) defence.set_weights_grid(*policy.weights_grid);
  if (policy.max_participation.has_value()) defence.set_max_participation(*policy.max_participation);
  if (policy.reply_grid.has_value()) defence.set_reply_grid(*policy.reply_grid);
  return defence;
}

DefencePolicy DefenceFromProto(const v1::DefenceInfo& defence) {
  DefencePolicy policy;
  if (defence.has_clip_norm()) policy.clip_norm = defence.clip_norm();
  if (defence.has_gradient_noise_multiplier()) policy.gradient_noise_multiplier = defence.gradient_noise_multiplier();
  if (defence.has_mask_variance()) policy.mask_variance = defence.mask_variance();
  if (defence.has_weights_grid()) policy.weights_grid = defence.weights_grid();
  if (defence.has_max_participation()) policy.max_participation = defence.max_participation();
  if (defence.has_reply_grid()) policy.reply_grid = defence.reply_grid();
  return policy;
}

absl::Status CheckComplete(const v1::GetInfoResponse& response) {
  constexpr int64_t kMaxDimension = int64_t{1} << 31;  // a payload of one gradient must stay addressable
  const v1::QueryLimits& limits = response.limits();
  if (response.dimension() < 1 || response.dimension() > kMaxDimension) {
    return Incomplete("dimension", absl::StrCat("is ", response.dimension(), ", must be from 1 to ", kMaxDimension));
  }
  if (response.row_count() < 1) {
    return Incomplete("row_count", absl::StrCat("is ", response.row_count(), ", must be at least 1"));
  }
  if (limits.min_batch_size() < 1 || limits.max_batch_size() < limits.min_batch_size()) {
    return Incomplete("limits", absl::StrCat("allows batch sizes from ", limits.min_batch_size(), " to ",
                                             limits.max_batch_size(), ", which is no range of positive numbers"));
  }
  if (limits.max_count() < 1) {
    return Incomplete("limits.max_count", absl::StrCat("is ", limits.max_count(), ", must be at least 1"));
  }
  if (!(limits.max_weights_norm() > 0)) {
    return Incomplete("limits.max_weights_norm",
                      absl::StrCat("is ", limits.max_weights_norm(), ", must be greater than 0"));
  }
  const bool scaled = response.noise().rule() == v1::NOISE_RULE_SCALED;
  if (scaled && !(response.noise().scale() > 0 && std::isfinite(response.noise().scale()))) {
    return Incomplete("noise.scale", absl::StrCat("is ", response.noise().scale(), ", must be finite and positive"));
  }
  return absl::OkStatus();
}

absl::Status Incomplete(absl::string_view field, absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "INFO_INVALID", field,
                   absl::StrCat("the oracle's description of itself is not usable: ", field, " ", what));
}

}  // namespace
}  // namespace gradoracle
