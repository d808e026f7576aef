#include "core/local_oracle.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/errors.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// y = x0 - x1 + noise, 200 rows, three features.
RegressionData Data(double target_unit = 1, int64_t row_count = 200) {
  std::mt19937_64 generator(1);
  std::normal_distribution<double> normal;
  RegressionData data;
  data.features = RowMajorMatrix::NullaryExpr(row_count, 3, [&]() { return normal(generator); });
  data.targets = data.features.col(0) - data.features.col(1);
  data.targets += Eigen::VectorXd::NullaryExpr(row_count, [&]() { return normal(generator); });
  data.targets *= target_unit;
  data.feature_names = {"rooms", "age", "area"};
  data.target_name = "price";
  return data;
}

std::unique_ptr<LocalOracle> Oracle(RegressionData data, const OracleOptions& options) {
  absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::FromData(std::move(data), options);
  EXPECT_TRUE(oracle.ok()) << oracle.status();
  return oracle.ok() ? *std::move(oracle) : nullptr;
}

absl::Status Refusal(RegressionData data, const OracleOptions& options) {
  return LocalOracle::FromData(std::move(data), options).status();
}

class Folder : public ::testing::Test {
 protected:
  Folder() {
    std::string pattern = ::testing::TempDir() + "/local_oracle_test_XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() override { std::filesystem::remove_all(path_); }

  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
    return path_ + "/" + name;
  }
  std::string path_;
};
using LocalOracleFileTest = Folder;

OracleOptions BundledData() {
  OracleOptions options;
  options.data_path = std::string(GRADORACLE_SOURCE_DIR) + "/examples/data/lucas_house.csv.gz";
  return options;
}

// The bundled house prices against figures computed elsewhere: residual variance 0.313, condition number 1.6e2, trace
// over top eigenvalue 6.2. Catches: a column or row lost in reading, raw units fitted, the wrong target.
TEST(LocalOracleTest, BundledHousePrices) {
  absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::Create(BundledData());
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  const OracleInfo& info = (*oracle)->info();
  const LeastSquaresFit& fit = (*oracle)->fit();
  EXPECT_EQ(info.row_count, 25357);
  EXPECT_EQ(info.dimension, 31);
  EXPECT_EQ((*oracle)->data().target_name, "log10_price");
  EXPECT_NEAR(fit.residual_variance, 0.313, 0.0005);
  EXPECT_NEAR(fit.eigenvalues[0] / fit.eigenvalues[30], 160, 5);
  EXPECT_NEAR(EffectiveRank(fit.eigenvalues), 6.2, 0.05);
  EXPECT_EQ(fit.rank, 31);
  // H is the correlation matrix.
  EXPECT_LT((fit.hessian.diagonal() - Eigen::VectorXd::Ones(31)).cwiseAbs().maxCoeff(), 1e-11);
  // w* makes the full gradient vanish.
  const Eigen::VectorXd gradient = (*oracle)->data().features.transpose() *
                                   ((*oracle)->data().features * fit.weights - (*oracle)->data().targets) / 25357.0;
  EXPECT_LT(gradient.norm(), 1e-12);
  EXPECT_EQ((*oracle)->smallest_calibrated_batch_size(), 1);
  EXPECT_EQ(info.limits.min_batch_size, 32);
  EXPECT_EQ(info.limits.max_batch_size, 25357);
  EXPECT_EQ(info.dataset_version.size(), 16u);
  EXPECT_THAT((*oracle)->warnings(), Contains(HasSubstr("62")));  // 32 < 2 d
}

TEST(LocalOracleTest, InfoTellsTheOptions) {
  OracleOptions options;
  std::unique_ptr<LocalOracle> oracle = Oracle(Data(), options);
  EXPECT_EQ(oracle->info().scaling, "standardised");
  EXPECT_EQ(oracle->info().dataset_version, "memory");
  EXPECT_THAT(oracle->info().feature_names, IsEmpty()) << "published without --publish-feature-names";
  EXPECT_FALSE(oracle->info().noise.scale.has_value());
  EXPECT_FALSE(oracle->info().noise.injected_variance.has_value());
  EXPECT_FALSE(oracle->info().version.empty());
  EXPECT_THAT(oracle->warnings(), IsEmpty());

  options.standardise = false;
  options.noise = {.rule = NoiseRule::kScaled, .scale = 4};
  options.sampling = Sampling::kShuffledEpochs;
  options.extra_noise_variances = {64, 640};
  options.curvature_probe = true;
  options.min_batch_size = 40;
  options.max_count = 77;
  options.max_weights_norm = 5;
  options.publish_feature_names = true;
  options.dataset_version = "2026-11";
  oracle = Oracle(Data(), options);
  const OracleInfo& info = oracle->info();
  EXPECT_EQ(info.scaling, "raw");
  EXPECT_EQ(info.noise.scale, 4);
  EXPECT_EQ(info.noise.extra_variances, (std::vector<double>{64, 640}));
  EXPECT_TRUE(info.noise.curvature_probe);
  EXPECT_EQ(info.sampling, Sampling::kShuffledEpochs);
  EXPECT_EQ(info.limits.min_batch_size, 40);
  EXPECT_EQ(info.limits.max_batch_size, 100);
  EXPECT_EQ(info.limits.max_count, 77);
  EXPECT_EQ(info.limits.max_weights_norm, 5);
  EXPECT_EQ(info.feature_names, (std::vector<std::string>{"rooms", "age", "area"}));
  EXPECT_EQ(info.dataset_version, "2026-11");
  EXPECT_EQ(KnownTotalNoiseVariance(info.noise, 50), 200);
  EXPECT_EQ(oracle->data().features, Data().features) << "raw units are the file's";
  ASSERT_TRUE(oracle->scaling().ok());
  EXPECT_NEAR(oracle->scaling()->feature_deviations[0], 1, 0.3);

  options.noise = {.rule = NoiseRule::kFixed, .variance = 2};
  options.extra_noise_variances.clear();
  oracle = Oracle(Data(), options);
  EXPECT_EQ(oracle->info().noise.injected_variance, 2);
  EXPECT_EQ(KnownTotalNoiseVariance(oracle->info().noise, 50), std::nullopt);
}

// Catches: an option that is not checked, or whose error does not lead back to the flag.
TEST(LocalOracleTest, OptionErrorsNameTheFlag) {
  const double nan = std::nan("");
  struct {
    const char* flag;
    const char* field;
    void (*set)(OracleOptions&);
  } const cases[] = {
      {"--noise-scale", "noise_scale", [](OracleOptions& o) { o.noise = {.rule = NoiseRule::kScaled, .scale = 0}; }},
      {"--noise-variance", "noise_variance",
       [](OracleOptions& o) { o.noise = {.rule = NoiseRule::kFixed, .variance = -1}; }},
      {"--extra-noise-variances", "extra_noise_variances",
       [](OracleOptions& o) {
         o.extra_noise_variances = {64, 0};
       }},
      {"--min-batch-size", "min_batch_size", [](OracleOptions& o) { o.min_batch_size = 0; }},
      {"--min-batch-size", "min_batch_size", [](OracleOptions& o) { o.min_batch_size = 201; }},
      {"--max-batch-size", "max_batch_size", [](OracleOptions& o) { o.max_batch_size = 201; }},
      {"--max-batch-size", "max_batch_size", [](OracleOptions& o) { o.max_batch_size = 31; }},
      {"--max-batch-size", "max_batch_size",
       [](OracleOptions& o) {
         o.max_batch_size = 101;
         o.sampling = Sampling::kWithoutReplacement;
       }},
      {"--max-count", "max_count", [](OracleOptions& o) { o.max_count = 0; }},
      {"--max-weights-norm", "max_weights_norm", [](OracleOptions& o) { o.max_weights_norm = 0; }},
      {"--max-weights-norm", "max_weights_norm", [](OracleOptions& o) { o.max_weights_norm = std::nan(""); }},
      {"--dataset-version", "dataset_version", [](OracleOptions& o) { o.dataset_version = "a\nb"; }},
  };
  for (const auto& c : cases) {
    OracleOptions options;
    c.set(options);
    const absl::Status status = Refusal(Data(), options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.flag;
    EXPECT_EQ(ErrorField(status), c.field);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.flag));
  }
  OracleOptions options;
  options.extra_noise_variances = {nan};
  EXPECT_EQ(ErrorField(Refusal(Data(), options)), "extra_noise_variances");
  // The edges themselves are served.
  options = {};
  options.min_batch_size = 200;
  options.max_batch_size = 200;
  EXPECT_TRUE(Refusal(Data(), options).ok());
}

// Raw targets of variance about 2500 or 50^2: n = 2500 is beyond N = 200. Catches: serving with noise clamped to zero
// (threats row 23), an answer that tells the residual variance itself.
TEST(LocalOracleTest, ImpossibleNoiseRuleIsRefusedWithAdvice) {
  OracleOptions options;
  options.standardise = false;
  const absl::Status status = Refusal(Data(50), options);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "NOISE_RULE_IMPOSSIBLE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("--standardise"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--noise-scale"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("is 200"));
  options.noise = {.rule = NoiseRule::kScaled, .scale = 1000};
  EXPECT_TRUE(Refusal(Data(50), options).ok());
  options.noise = {.rule = NoiseRule::kNone};
  EXPECT_TRUE(Refusal(Data(50), options).ok());
  options.noise = {};
  options.standardise = true;
  EXPECT_TRUE(Refusal(Data(50), options).ok());
}

// Residual variance about 7^2 < N: the least batch size rises to ceil(f sigma^2), the engine serves it and refuses one
// less. Catches: the factor N/(N - 1) of shuffled epochs forgotten, the raise not told to callers and owner.
TEST(LocalOracleTest, MinimumBatchSizeRisesToWhatTheRuleNeeds) {
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    OracleOptions options;
    options.standardise = false;
    options.sampling = sampling;
    const std::unique_ptr<LocalOracle> oracle = Oracle(Data(7), options);
    ASSERT_NE(oracle, nullptr);
    // n >= f(n) sigma^2 with f = 1, (200 - n) / 199 and 200 / 199.
    const double variance = oracle->fit().residual_variance;
    const double bound = sampling == Sampling::kIid                  ? variance
                         : sampling == Sampling::kWithoutReplacement ? 200 * variance / (199 + variance)
                                                                     : variance * 200 / 199;
    const int64_t expected = static_cast<int64_t>(std::ceil(bound));
    ASSERT_GT(expected, 32);
    EXPECT_EQ(oracle->info().limits.min_batch_size, expected);
    EXPECT_EQ(oracle->smallest_calibrated_batch_size(), expected);
    EXPECT_THAT(oracle->warnings(), Contains(HasSubstr("--min-batch-size is raised from 32 to")));
    GradientQuery query;
    query.weights = Eigen::VectorXd::Zero(3);
    query.batch_size = expected;
    query.count = 1;
    EXPECT_TRUE(oracle->engine().Start(query, RequestKey{}).ok());
    LocalGradientSource source(oracle.get(), []() -> absl::StatusOr<RequestKey> { return RequestKey{}; });
    query.batch_size = expected - 1;
    const absl::Status refused =
        source.Gradients(query, [](const Eigen::Ref<const RowMajorMatrix>&) { return absl::OkStatus(); });
    EXPECT_EQ(ErrorReason(refused), "BATCH_SIZE_TOO_SMALL");
  }
}

// An offered total below the data's own noise could not be served. Catches: the offer made and every request refused.
TEST(LocalOracleTest, ExtraVariancesMustCoverTheDataOwnNoise) {
  OracleOptions options;
  options.standardise = false;
  const double residual_variance = Oracle(Data(), options)->fit().residual_variance;
  options.extra_noise_variances = {64, std::nextafter(residual_variance, 0.0)};
  const absl::Status status = Refusal(Data(), options);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "NOISE_RULE_IMPOSSIBLE");
  EXPECT_EQ(ErrorField(status), "extra_noise_variances");
  options.extra_noise_variances = {64, residual_variance};
  EXPECT_TRUE(Refusal(Data(), options).ok());
  options.sampling = Sampling::kShuffledEpochs;  // factor N / (N - 1)
  EXPECT_EQ(ErrorField(Refusal(Data(), options)), "extra_noise_variances");
}

TEST(LocalOracleTest, WarnsOfWhatTheOwnerShouldKnow) {
  RegressionData data = Data();
  data.features.col(2) = data.features.col(0) - data.features.col(1);
  std::unique_ptr<LocalOracle> oracle = Oracle(data, {});
  EXPECT_EQ(oracle->fit().rank, 2);
  EXPECT_THAT(oracle->warnings(), Contains(HasSubstr("rooms, age, area")));

  data = Data();
  data.targets = data.features.col(0);
  oracle = Oracle(data, {});
  EXPECT_THAT(oracle->warnings(), Contains(HasSubstr("passes through every target")));

  OracleOptions options;
  options.min_batch_size = 5;
  EXPECT_THAT(Oracle(Data(), options)->warnings(), Contains(HasSubstr("below twice the dimension")));
  options.min_batch_size = 6;
  EXPECT_THAT(Oracle(Data(), options)->warnings(), IsEmpty());
}

// Catches: a constant column served (raw) or standardised into NaN.
TEST(LocalOracleTest, ConstantColumns) {
  RegressionData data = Data();
  data.features.col(1).setConstant(0.1);
  const absl::Status status = Refusal(data, {});
  EXPECT_EQ(ErrorReason(status), "CONSTANT_COLUMN");
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"age\""));
  OracleOptions raw;
  raw.standardise = false;
  const std::unique_ptr<LocalOracle> oracle = Oracle(data, raw);
  ASSERT_NE(oracle, nullptr);
  EXPECT_EQ(oracle->scaling().status().code(), absl::StatusCode::kInvalidArgument);
}

// --scaling replaces --standardise: units are the file's, to the bit. Catches: scaling applied on top of standardising.
TEST_F(LocalOracleFileTest, ScalingFileWins) {
  const std::string scaling_path = Write("scaling.json", R"({"features":[{"name":"rooms","mean":1,"deviation":2},)"
                                                         R"({"name":"age","mean":0,"deviation":4},)"
                                                         R"({"name":"area","mean":0,"deviation":1}],)"
                                                         R"("target":{"name":"price","mean":0,"deviation":0.5}})");
  OracleOptions options;
  options.scaling_path = scaling_path;
  for (const bool standardise : {true, false}) {
    options.standardise = standardise;
    const std::unique_ptr<LocalOracle> oracle = Oracle(Data(), options);
    ASSERT_NE(oracle, nullptr);
    EXPECT_EQ(oracle->info().scaling, ReadScalingFile(scaling_path)->sha256);
    EXPECT_EQ(oracle->data().features(7, 0), (Data().features(7, 0) - 1) / 2);
    EXPECT_EQ(oracle->data().targets[7], Data().targets[7] / 0.5);
    EXPECT_EQ(oracle->scaling()->target_deviation, 0.5);
  }
  options.scaling_path = path_ + "/absent.json";
  EXPECT_EQ(Refusal(Data(), options).code(), absl::StatusCode::kNotFound);
  OracleOptions bundled = BundledData();
  bundled.scaling_path = scaling_path;
  EXPECT_EQ(ErrorReason(LocalOracle::Create(bundled).status()), "SCALING_MISMATCH");
}

// Catches: a version that does not change with units, target or the file's time; one that depends on values: two files
// of equal size, time and shape must share it.
TEST_F(LocalOracleFileTest, DatasetVersionIsDerivedFromFileAndUnitsOnly) {
  std::string first = "a,b,y\n";
  std::string second = first;
  for (int i = 0; i < 100; ++i) {
    first += std::to_string(i % 7) + "," + std::to_string(i % 5) + "," + std::to_string(i % 3) + "\n";
    second += std::to_string(i % 5) + "," + std::to_string(i % 7) + "," + std::to_string(i % 9) + "\n";
  }
  OracleOptions options;
  options.data_path = Write("data.csv", first);
  const std::filesystem::file_time_type time = std::filesystem::last_write_time(options.data_path);
  const auto version = [](const OracleOptions& o) {
    absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::Create(o);
    EXPECT_TRUE(oracle.ok()) << oracle.status();
    return oracle.ok() ? (*oracle)->info().dataset_version : "";
  };
  const std::string base = version(options);
  EXPECT_EQ(base.size(), 16u);
  EXPECT_EQ(base.find_first_not_of("0123456789abcdef"), std::string::npos);
  Write("data.csv", second);
  std::filesystem::last_write_time(options.data_path, time);
  EXPECT_EQ(version(options), base) << "the version depends on the values";

  std::set<std::string> versions = {base};
  OracleOptions raw = options;
  raw.standardise = false;
  EXPECT_TRUE(versions.insert(version(raw)).second) << "units";
  OracleOptions target = options;
  target.target = "a";
  EXPECT_TRUE(versions.insert(version(target)).second) << "target";
  std::filesystem::last_write_time(options.data_path, time + std::chrono::nanoseconds(1));
  EXPECT_TRUE(versions.insert(version(options)).second) << "modification time, to the nanosecond";
  options.dataset_version = "mine";
  EXPECT_EQ(version(options), "mine");
  options.data_path += ".absent.csv";
  EXPECT_EQ(LocalOracle::Create(options).status().code(), absl::StatusCode::kNotFound);
}

GradientQuery Query(int64_t dimension, int64_t count) {
  GradientQuery query;
  query.weights = Eigen::VectorXd::Constant(dimension, 0.25);
  query.batch_size = 32;
  query.count = count;
  return query;
}

// A block is 256 KiB: 10922 gradients of three numbers. Catches: gradients lost, repeated or out of order at the seam
// between blocks, one key for all queries.
TEST(LocalGradientSourceTest, BlocksJoinIntoTheStream) {
  const std::unique_ptr<LocalOracle> oracle = Oracle(Data(), {});
  ASSERT_NE(oracle, nullptr);
  uint8_t calls = 0;
  LocalGradientSource source(oracle.get(), [&calls]() -> absl::StatusOr<RequestKey> {
    RequestKey key{};
    key[0] = ++calls;
    return key;
  });
  EXPECT_EQ(source.Info()->dimension, 3);
  const GradientQuery query = Query(3, 25000);
  RowMajorMatrix joined(25000, 3);
  Eigen::Index filled = 0;
  Eigen::Index blocks = 0;
  const auto collect = [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    EXPECT_LE(block.size() * 8, 256 << 10);
    EXPECT_GE(block.rows(), 1);
    joined.middleRows(filled, block.rows()) = block;
    filled += block.rows();
    ++blocks;
    return absl::OkStatus();
  };
  ASSERT_TRUE(source.Gradients(query, collect).ok());
  EXPECT_EQ(filled, 25000);
  EXPECT_EQ(blocks, 3);
  RequestKey key{};
  key[0] = 1;
  absl::StatusOr<GradientStream> stream = oracle->engine().Start(query, key);
  ASSERT_TRUE(stream.ok()) << stream.status();
  RowMajorMatrix whole(25000, 3);
  stream->Compute(0, whole);
  EXPECT_EQ(joined, whole);

  filled = 0;
  ASSERT_TRUE(source.Gradients(query, collect).ok());
  EXPECT_EQ(calls, 2);
  EXPECT_NE(joined.row(0), whole.row(0)) << "two queries shared batch and noise";
}

// Catches: a sink's refusal swallowed, work going on after it, a query that skips validation or burns a key.
TEST(LocalGradientSourceTest, StopsWhereItShould) {
  const std::unique_ptr<LocalOracle> oracle = Oracle(Data(), {});
  ASSERT_NE(oracle, nullptr);
  int keys = 0;
  LocalGradientSource source(oracle.get(), [&keys]() -> absl::StatusOr<RequestKey> {
    ++keys;
    return RequestKey{};
  });
  int blocks = 0;
  const auto refuse = [&](const Eigen::Ref<const RowMajorMatrix>&) {
    ++blocks;
    return absl::CancelledError("enough");
  };
  EXPECT_EQ(source.Gradients(Query(3, 30000), refuse), absl::CancelledError("enough"));
  EXPECT_EQ(blocks, 1);
  EXPECT_EQ(keys, 1);
  EXPECT_EQ(ErrorReason(source.Gradients(Query(4, 1), refuse)), "WEIGHTS_DIMENSION");
  EXPECT_EQ(blocks, 1);
  EXPECT_EQ(keys, 1);
  LocalGradientSource broken(oracle.get(),
                             []() -> absl::StatusOr<RequestKey> { return absl::InternalError("no key"); });
  EXPECT_EQ(broken.Gradients(Query(3, 1), refuse), absl::InternalError("no key"));
  EXPECT_EQ(blocks, 1);
}

// What a reload puts in force. Would catch limits that forget the smallest batch the noise rule allows, one that
// follows a noise rule or sampling of the new options, which take a restart, and a refused reload that changes
// something.
TEST(LocalOracle, LimitsForOtherOptionsKeepTheRestAsItIs) {
  OracleOptions options;
  options.standardise = false;
  options.min_batch_size = 1;
  const auto oracle = Oracle(Data(/*target_unit=*/5), options);  // residual variance about 25
  ASSERT_NE(oracle, nullptr);
  const int64_t smallest = oracle->smallest_calibrated_batch_size();
  ASSERT_GT(smallest, 10);
  EXPECT_EQ(oracle->info().limits.min_batch_size, smallest);

  OracleOptions other = options;
  other.max_count = 7;
  other.max_batch_size = 150;
  other.max_weights_norm = 3;
  other.noise.rule = NoiseRule::kNone;             // would allow any batch
  other.sampling = Sampling::kWithoutReplacement;  // would allow half the rows
  const auto limits = oracle->LimitsFor(other);
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->min_batch_size, smallest);
  EXPECT_EQ(limits->max_batch_size, 150);
  EXPECT_EQ(limits->max_count, 7);
  EXPECT_EQ(limits->max_weights_norm, 3);
  EXPECT_EQ(oracle->info().limits.max_batch_size, 200);

  other.max_batch_size = smallest - 1;
  EXPECT_EQ(ErrorReason(oracle->LimitsFor(other).status()), "NOISE_RULE_IMPOSSIBLE");
  other.max_batch_size = 201;
  EXPECT_EQ(ErrorField(oracle->LimitsFor(other).status()), "max_batch_size");
  other.max_batch_size.reset();
  other.max_count = 0;
  EXPECT_EQ(ErrorField(oracle->LimitsFor(other).status()), "max_count");
}

}  // namespace
}  // namespace gradoracle
