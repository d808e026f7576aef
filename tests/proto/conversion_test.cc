#include "proto/conversion.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "core/errors.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

GradientQuery SomeQuery() {
  GradientQuery query;
  query.weights = Eigen::Vector3d(0.1, -0.0, 1e300);
  query.batch_size = 64;
  query.count = 1000;
  query.request_id = "r-1";
  return query;
}

void ExpectSame(const GradientQuery& a, const GradientQuery& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(a.batch_size, b.batch_size);
  EXPECT_EQ(a.count, b.count);
  EXPECT_EQ(a.total_noise_variance, b.total_noise_variance);
  EXPECT_EQ(a.curvature_probe, b.curvature_probe);
  EXPECT_EQ(a.request_id, b.request_id);
}

// Catches a field that is dropped or swapped on the way out or in, through the bytes of the wire.
TEST(ConversionTest, StreamRequestSurvivesTheWire) {
  for (int choice = 0; choice < 3; ++choice) {
    GradientQuery query = SomeQuery();
    if (choice == 1) query.total_noise_variance = 2.5;
    if (choice == 2) query.curvature_probe = true;
    StreamOptions options;
    options.element_type = ElementType::kFloat32;
    options.first_gradient = 17;
    options.max_chunk_gradients = 9;
    v1::StreamGradientsRequest request;
    ASSERT_TRUE(request.ParseFromString(ToProto(query, options).SerializeAsString()));
    const auto back = QueryFromProto(request);
    ASSERT_TRUE(back.ok());
    ExpectSame(*back, query);
    EXPECT_TRUE(std::signbit(back->weights[1])) << "the sign of zero is content too";
    const auto options_back = StreamOptionsFromProto(request);
    ASSERT_TRUE(options_back.ok());
    EXPECT_EQ(options_back->element_type, options.element_type);
    EXPECT_EQ(options_back->first_gradient, 17);
    EXPECT_EQ(options_back->max_chunk_gradients, 9);
  }
}

TEST(ConversionTest, UnaryRequestSurvivesTheWireAndCountsOne) {
  GradientQuery query = SomeQuery();
  query.total_noise_variance = 0.0;  // "zero" is not "absent"
  const auto back = QueryFromProto(ToUnaryProto(query, ElementType::kFloat64));
  ASSERT_TRUE(back.ok());
  query.count = 1;
  ExpectSame(*back, query);
}

// A probe switched off explicitly means the oracle's rule, not a conflict.
TEST(ConversionTest, ProbeFalseIsTheRule) {
  v1::GetGradientRequest request;
  request.mutable_noise()->set_curvature_probe(false);
  const auto query = QueryFromProto(request);
  ASSERT_TRUE(query.ok());
  EXPECT_FALSE(query->curvature_probe);
  EXPECT_FALSE(query->total_noise_variance.has_value());
}

TEST(ConversionTest, OptionsOutsideTheContractAreRefusedByName) {
  v1::StreamGradientsRequest request;
  request.set_element_type(static_cast<v1::ElementType>(7));
  EXPECT_EQ(ErrorReason(StreamOptionsFromProto(request).status()), "ELEMENT_TYPE_UNKNOWN");
  EXPECT_EQ(ErrorField(StreamOptionsFromProto(request).status()), "element_type");
  request.set_element_type(v1::ELEMENT_TYPE_UNSPECIFIED);
  ASSERT_TRUE(StreamOptionsFromProto(request).ok());
  EXPECT_EQ(StreamOptionsFromProto(request)->element_type, ElementType::kFloat64);
  request.set_first_gradient(-1);
  EXPECT_EQ(ErrorReason(StreamOptionsFromProto(request).status()), "FIRST_GRADIENT_NEGATIVE");
  EXPECT_EQ(ErrorField(StreamOptionsFromProto(request).status()), "first_gradient");
  request.set_first_gradient(0);
  request.set_max_chunk_gradients(std::numeric_limits<int64_t>::min());
  EXPECT_EQ(ErrorReason(StreamOptionsFromProto(request).status()), "MAX_CHUNK_GRADIENTS_NEGATIVE");
  EXPECT_EQ(ErrorField(StreamOptionsFromProto(request).status()), "max_chunk_gradients");
}

OracleInfo SomeInfo() {
  OracleInfo info;
  info.dimension = 3;
  info.row_count = 100;
  info.scaling = "standardised";
  info.noise.rule = NoiseRule::kScaled;
  info.noise.scale = 0.5;
  info.noise.extra_variances = {1, 4};
  info.noise.curvature_probe = true;
  info.sampling = Sampling::kShuffledEpochs;
  info.limits = {16, 50, 1234, 7.5};
  info.dataset_version = "v7";
  info.feature_names = {"a", "b", "c"};
  info.version = "1.2.3";
  return info;
}

TEST(ConversionTest, InfoSurvivesTheWire) {
  const OracleInfo info = SomeInfo();
  v1::GetInfoResponse response;
  ASSERT_TRUE(response.ParseFromString(ToProto(info).SerializeAsString()));
  const auto back = InfoFromProto(response);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->dimension, info.dimension);
  EXPECT_EQ(back->row_count, info.row_count);
  EXPECT_EQ(back->scaling, info.scaling);
  EXPECT_EQ(back->loss, info.loss);
  EXPECT_EQ(back->noise.rule, info.noise.rule);
  EXPECT_EQ(back->noise.scale, info.noise.scale);
  EXPECT_EQ(back->noise.injected_variance, std::nullopt);
  EXPECT_EQ(back->noise.extra_variances, info.noise.extra_variances);
  EXPECT_EQ(back->noise.curvature_probe, info.noise.curvature_probe);
  EXPECT_EQ(back->sampling, info.sampling);
  EXPECT_EQ(back->limits.min_batch_size, 16);
  EXPECT_EQ(back->limits.max_batch_size, 50);
  EXPECT_EQ(back->limits.max_count, 1234);
  EXPECT_EQ(back->limits.max_weights_norm, 7.5);
  EXPECT_EQ(back->dataset_version, info.dataset_version);
  EXPECT_EQ(back->feature_names, info.feature_names);
  EXPECT_EQ(back->version, info.version);
}

TEST(ConversionTest, EveryRuleAndSamplingSurvives) {
  for (const NoiseRule rule : {NoiseRule::kCalibrated, NoiseRule::kScaled, NoiseRule::kFixed, NoiseRule::kNone}) {
    for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
      OracleInfo info = SomeInfo();
      info.noise.rule = rule;
      info.noise.injected_variance = 0;
      info.sampling = sampling;
      const auto back = InfoFromProto(ToProto(info));
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(back->noise.rule, rule);
      EXPECT_EQ(back->noise.injected_variance, 0.0);
      EXPECT_EQ(back->sampling, sampling);
    }
  }
}

// A client that trusted any of these would divide by zero, allocate without bound or misread the noise.
TEST(ConversionTest, IncompleteInfoIsDataLossNamingTheField) {
  const auto field_of = [](const std::function<void(v1::GetInfoResponse&)>& damage) {
    v1::GetInfoResponse response = ToProto(SomeInfo());
    damage(response);
    const absl::Status status = InfoFromProto(response).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    return ErrorField(status).value_or("");
  };
  EXPECT_EQ(field_of([](auto& r) { r.Clear(); }), "dimension");
  EXPECT_EQ(field_of([](auto& r) { r.set_dimension(-1); }), "dimension");
  EXPECT_EQ(field_of([](auto& r) { r.set_dimension(std::numeric_limits<int64_t>::max()); }), "dimension");
  EXPECT_EQ(field_of([](auto& r) { r.set_row_count(0); }), "row_count");
  EXPECT_EQ(field_of([](auto& r) { r.clear_sampling(); }), "sampling");
  EXPECT_EQ(field_of([](auto& r) { r.set_sampling(static_cast<v1::Sampling>(99)); }), "sampling");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_noise()->clear_rule(); }), "noise.rule");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_noise()->set_rule(static_cast<v1::NoiseRule>(99)); }), "noise.rule");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_noise()->clear_scale(); }), "noise.scale");
  EXPECT_EQ(field_of([](auto& r) { r.clear_limits(); }), "limits");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_limits()->set_max_batch_size(15); }), "limits");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_limits()->set_max_count(0); }), "limits.max_count");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_limits()->set_max_weights_norm(std::nan("")); }),
            "limits.max_weights_norm");
}

// The layout is a contract with clients in other languages: known bytes, gradient after gradient.
TEST(ConversionTest, EncodesLittleEndianRowMajor) {
  RowMajorMatrix gradients(2, 2);
  gradients << 1, -2, 0.5, 0;
  std::string payload = "head";
  EncodeGradients(gradients, ElementType::kFloat64, payload);
  const std::string expected("head\0\0\0\0\0\0\xF0\x3F\0\0\0\0\0\0\0\xC0\0\0\0\0\0\0\xE0\x3F\0\0\0\0\0\0\0\0", 4 + 32);
  EXPECT_EQ(payload, expected);
  payload.clear();
  EncodeGradients(gradients, ElementType::kFloat32, payload);
  EXPECT_EQ(payload, std::string("\0\0\x80\x3F\0\0\0\xC0\0\0\0\x3F\0\0\0\0", 16));
}

TEST(ConversionTest, DecodesWhatItEncodedAlsoFromOddAddressesAndIntoStridedBlocks) {
  const RowMajorMatrix gradients = RowMajorMatrix::Random(3, 5);
  for (const ElementType type : {ElementType::kFloat64, ElementType::kFloat32}) {
    std::string payload = "x";  // everything after it is misaligned
    EncodeGradients(gradients, type, payload);
    RowMajorMatrix wide = RowMajorMatrix::Constant(3, 8, 42);
    ASSERT_TRUE(DecodeGradients(absl::string_view(payload).substr(1), type, wide.middleCols(2, 5)).ok());
    EXPECT_LE((wide.middleCols(2, 5) - gradients).cwiseAbs().maxCoeff(), type == ElementType::kFloat64 ? 0 : 6e-8);
    EXPECT_EQ(wide.col(1), Eigen::VectorXd::Constant(3, 42));
    EXPECT_EQ(wide.col(7), Eigen::VectorXd::Constant(3, 42));
  }
}

TEST(ConversionTest, PayloadOfAnotherSizeIsDataLoss) {
  RowMajorMatrix block(2, 3);
  for (const size_t size : {0, 47, 49, 24, 96}) {
    const absl::Status status = DecodeGradients(std::string(size, '\0'), ElementType::kFloat64, block);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_EQ(ErrorReason(status), "PAYLOAD_SIZE");
  }
  EXPECT_TRUE(DecodeGradients(std::string(48, '\0'), ElementType::kFloat64, block).ok());
  EXPECT_TRUE(DecodeGradients(std::string(24, '\0'), ElementType::kFloat32, block).ok());
}

TEST(ConversionTest, BudgetsBothWays) {
  for (const std::optional<int64_t> limit :
       {std::optional<int64_t>(), std::optional<int64_t>(0), std::optional<int64_t>(7)}) {
    const auto budget = BudgetFromProto(ToProto(Budget{.limit = limit, .spent = 3}));
    ASSERT_TRUE(budget.ok());
    EXPECT_EQ(budget->limit, limit);
    EXPECT_EQ(budget->spent, 3);
  }
  EXPECT_EQ(*(Budget{.limit = 7, .spent = 3}.remaining()), 4);
  EXPECT_EQ(*(Budget{.limit = 2, .spent = 3}.remaining()), 0);
  EXPECT_FALSE((Budget{.limit = std::nullopt, .spent = 3}.remaining().has_value()));
  v1::GetBudgetResponse bad = ToProto(Budget());
  bad.set_spent(-1);
  EXPECT_EQ(ErrorReason(BudgetFromProto(bad).status()), "BUDGET_INVALID");
  bad.set_spent(1);
  bad.set_unit("rows");
  EXPECT_EQ(ErrorReason(BudgetFromProto(bad).status()), "BUDGET_INVALID");
}

}  // namespace
}  // namespace gradoracle
