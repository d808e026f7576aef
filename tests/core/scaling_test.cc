#include "core/scaling.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RegressionData Data(const RowMajorMatrix& features, const Eigen::VectorXd& targets) {
  RegressionData data{features, targets, {}, "price"};
  for (Eigen::Index j = 0; j < features.cols(); ++j) data.feature_names.push_back(absl::StrCat("feature", j));
  return data;
}

RegressionData SmallData() {
  RowMajorMatrix features(4, 2);
  features << 1, 10, 3, 10, 5, 30, 7, 30;
  return Data(features, Eigen::Vector4d(0, 0, 0, 4));
}

RegressionData RandomData(int64_t row_count, double offset, double unit) {
  std::mt19937_64 generator(7);
  std::normal_distribution<double> normal;
  const RowMajorMatrix features = RowMajorMatrix::NullaryExpr(row_count, 3, [&]() { return normal(generator); });
  const Eigen::VectorXd targets = Eigen::VectorXd::NullaryExpr(row_count, [&]() { return normal(generator); });
  return Data((features.array() * unit + offset).matrix(), (targets.array() * unit + offset).matrix());
}

class ScalingFileTest : public ::testing::Test {
 protected:
  ScalingFileTest() {
    std::string pattern = ::testing::TempDir() + "/scaling_test_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~ScalingFileTest() override { std::filesystem::remove_all(folder_); }

  std::string Path() const { return folder_ + "/scaling.json"; }
  std::string Write(const std::string& bytes) const {
    std::ofstream(Path(), std::ios::binary) << bytes;
    return Path();
  }

  std::string folder_;
};

// By hand: means 4, 20, 1; population deviations sqrt(5), 10, sqrt(3). Catches: divisor N - 1 (20/3 for 5), columns and
// rows confused, the target left out.
TEST(ComputeScalingTest, PopulationMomentsByHand) {
  const absl::StatusOr<Scaling> scaling = ComputeScaling(SmallData());
  ASSERT_TRUE(scaling.ok()) << scaling.status();
  EXPECT_EQ(scaling->feature_names, (std::vector<std::string>{"feature0", "feature1"}));
  EXPECT_EQ(scaling->target_name, "price");
  EXPECT_DOUBLE_EQ(scaling->feature_means[0], 4);
  EXPECT_DOUBLE_EQ(scaling->feature_means[1], 20);
  EXPECT_DOUBLE_EQ(scaling->target_mean, 1);
  EXPECT_DOUBLE_EQ(scaling->feature_deviations[0], std::sqrt(5.0));
  EXPECT_DOUBLE_EQ(scaling->feature_deviations[1], 10);
  EXPECT_DOUBLE_EQ(scaling->target_deviation, std::sqrt(3.0));
}

// Standardised columns have mean 0 and mean square 1, whatever the offset and unit of the raw ones: the correlation
// matrix then has a unit diagonal. Catches: E x^2 - (E x)^2, which loses every digit at offset 1e9; overflow of
// squares.
TEST(ApplyScalingTest, StandardisedColumnsHaveMeanZeroAndVarianceOne) {
  struct {
    double offset, unit, tolerance;
  } const cases[] = {{0, 1, 1e-12},     {1e9, 1, 1e-6},    {-1e9, 1e-3, 1e-3},
                     {1e6, 1e-2, 1e-7}, {0, 1e200, 1e-12}, {0, 1e-200, 1e-12}};
  for (const auto& c : cases) {
    RegressionData data = RandomData(10000, c.offset, c.unit);
    const absl::StatusOr<Scaling> scaling = ComputeScaling(data);
    ASSERT_TRUE(scaling.ok()) << scaling.status() << " at offset " << c.offset << " unit " << c.unit;
    ASSERT_TRUE(ApplyScaling(*scaling, data).ok());
    for (Eigen::Index j = 0; j < 3; ++j) {
      EXPECT_NEAR(data.features.col(j).mean(), 0, c.tolerance) << c.offset << " " << c.unit;
      EXPECT_NEAR(data.features.col(j).squaredNorm() / 10000, 1, c.tolerance) << c.offset << " " << c.unit;
    }
    EXPECT_NEAR(data.targets.mean(), 0, c.tolerance);
    EXPECT_NEAR(data.targets.squaredNorm() / 10000, 1, c.tolerance);
  }
}

TEST(ApplyScalingTest, IsTheFormulaEntryByEntry) {
  RegressionData data = SmallData();
  const Scaling scaling{data.feature_names, Eigen::Vector2d(1, 5), Eigen::Vector2d(2, 4), "price", 3, 8};
  ASSERT_TRUE(ApplyScaling(scaling, data).ok());
  RowMajorMatrix expected(4, 2);
  expected << 0, 1.25, 1, 1.25, 2, 6.25, 3, 6.25;
  EXPECT_EQ(data.features, expected);
  EXPECT_EQ(data.targets, Eigen::Vector4d(-0.375, -0.375, -0.375, 0.125));
}

// Catches: a constant column that passes because its mean is not representable, or its spread is one rounding; the
// target forgotten; a legitimate column with a large offset refused.
TEST(ComputeScalingTest, ConstantColumnsAreNamed) {
  struct {
    const char* what;
    double first, others;
    bool constant;
  } const cases[] = {{"zeros", 0, 0, true},
                     {"one tenth", 0.1, 0.1, true},
                     {"one ulp apart", 0.1, std::nextafter(0.1, 1.0), true},
                     {"ulps at 1e9", 1e9, 1e9 + 2.4e-7, true},
                     {"subnormal spread", 0, 5e-324, true},
                     {"a single one", 0, 1, false},
                     {"offset 1e9, spread 1", 1e9, 1e9 + 1, false},
                     {"tiny but normal", 0, 1e-290, false}};
  for (const auto& c : cases) {
    for (const bool target : {false, true}) {
      RegressionData data = RandomData(1000, 0, 1);
      Eigen::VectorXd column = Eigen::VectorXd::Constant(1000, c.others);
      column[0] = c.first;
      if (target) {
        data.targets = column;
      } else {
        data.features.col(1) = column;
      }
      const absl::Status status = ComputeScaling(data).status();
      EXPECT_EQ(!status.ok(), c.constant) << c.what << (target ? " target" : " feature");
      if (status.ok()) continue;
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_EQ(ErrorReason(status), "CONSTANT_COLUMN");
      EXPECT_THAT(std::string(status.message()), HasSubstr(target ? "\"price\"" : "\"feature1\""));
      EXPECT_THAT(std::string(status.message()), Not(HasSubstr("feature0")));
    }
  }
}

TEST(ComputeScalingTest, HugeAndEmptyDataAreErrors) {
  RegressionData data = SmallData();
  data.features(0, 1) = 1.7e308;
  data.features(1, 1) = -1.7e308;
  EXPECT_EQ(ErrorReason(ComputeScaling(data).status()), "COLUMN_TOO_LARGE");
  EXPECT_EQ(ErrorReason(ComputeScaling(RegressionData{}).status()), "DATA_EMPTY");
}

// Catches: columns paired by position when names differ.
TEST(ApplyScalingTest, OtherNamesAreRefused) {
  const Scaling good = *ComputeScaling(SmallData());
  Scaling renamed = good;
  renamed.feature_names[1] = "other";
  Scaling swapped = good;
  std::swap(swapped.feature_names[0], swapped.feature_names[1]);
  Scaling target = good;
  target.target_name = "other";
  Scaling shorter = good;
  shorter.feature_names.pop_back();
  shorter.feature_means.conservativeResize(1);
  shorter.feature_deviations.conservativeResize(1);
  for (const Scaling& scaling : {renamed, swapped, target, shorter}) {
    RegressionData data = SmallData();
    const absl::Status status = ApplyScaling(scaling, data);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(status), "SCALING_MISMATCH");
    EXPECT_EQ(data.features, SmallData().features) << "refused, yet changed";
  }
  RegressionData data = SmallData();
  EXPECT_TRUE(ApplyScaling(good, data).ok());
}

// Catches: decimal digits lost in the file (callers would get H in other units than the oracle's), names not escaped,
// a hash of something other than the bytes.
TEST_F(ScalingFileTest, RoundTripsEveryBit) {
  Scaling scaling{{"plain", "quote\" and \\", "caf\xc3\xa9"},
                  Eigen::Vector3d(1.0 / 3.0, -1e-300, 1e300),
                  Eigen::Vector3d(std::nextafter(1.0, 2.0), 5e-324, 0.1),
                  "target",
                  -0.0,
                  1e-17};
  ASSERT_TRUE(WriteScalingFile(Path(), scaling).ok());
  const absl::StatusOr<ScalingFile> read = ReadScalingFile(Path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->scaling.feature_names, scaling.feature_names);
  EXPECT_EQ(read->scaling.feature_means, scaling.feature_means);
  EXPECT_EQ(read->scaling.feature_deviations, scaling.feature_deviations);
  EXPECT_EQ(read->scaling.target_name, "target");
  EXPECT_TRUE(std::signbit(read->scaling.target_mean));
  EXPECT_EQ(read->scaling.target_deviation, 1e-17);
  std::ifstream file(Path(), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(read->sha256, Sha256Hex(bytes));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1) << "a temporary file is left behind";
}

TEST_F(ScalingFileTest, IdentityIsThatOfTheBytes) {
  const std::string content =
      R"({"features":[{"name":"a","mean":0,"deviation":1}],"target":{"name":"y","mean":0,"deviation":2}})";
  const absl::StatusOr<ScalingFile> file = ReadScalingFile(Write(content));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->sha256.size(), 64u);
  const std::string first = file->sha256;
  EXPECT_NE(ReadScalingFile(Write(content + "\n"))->sha256, first) << "another file, the same identity";
  EXPECT_EQ(ReadScalingFile(Write(content))->sha256, first);
}

// Catches: a default taken for a missing or misspelt key, deviation 0 or negative (division), and errors that do not
// say where; also values of the file in messages, for the case that the file named is the private data.
TEST_F(ScalingFileTest, ErrorsNameFileAndKey) {
  const std::string target = R"("target":{"name":"y","mean":0,"deviation":1})";
  struct {
    std::string content;
    const char* where;
  } const cases[] = {
      {"", "not JSON"},
      {"bedrooms,price\n31337,2\n", "not JSON"},
      {"[31337]", "features"},
      {"{" + target + "}", "features"},
      {R"({"features":[],)" + target + "}", "features"},
      {R"({"features":[31337],)" + target + "}", "features[0]"},
      {R"({"features":[{"mean":0,"deviation":1}],)" + target + "}", "features[0].name"},
      {R"({"features":[{"name":"a","deviation":1}],)" + target + "}", "features[0].mean"},
      {R"({"features":[{"name":"a","mean":"31337","deviation":1}],)" + target + "}", "features[0].mean"},
      {R"({"features":[{"name":"a","mean":0}],)" + target + "}", "features[0].deviation"},
      {R"({"features":[{"name":"a","mean":0,"deviation":0}],)" + target + "}", "features[0].deviation"},
      {R"({"features":[{"name":"a","mean":0,"deviation":-31337}],)" + target + "}", "features[0].deviation"},
      {R"({"features":[{"name":"a","mean":0,"deviation":1},{"name":"a","mean":0,"deviation":1}],)" + target + "}",
       "features[1].name"},
      {R"({"features":[{"name":"a","mean":0,"deviation":1}]})", "target"},
      {R"({"features":[{"name":"a","mean":0,"deviation":1}],"target":{"name":"y","mean":0}})", "target.deviation"},
      {R"({"features":[{"name":"a","mean":1e999,"deviation":1}],)" + target + "}", "number"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ReadScalingFile(Write(c.content)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.content;
    EXPECT_EQ(ErrorReason(status), "SCALING_FILE_INVALID") << c.content;
    EXPECT_EQ(ErrorField(status), "scaling");
    EXPECT_THAT(std::string(status.message()), HasSubstr(Path()));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.where));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("31337")));
  }
  EXPECT_EQ(ReadScalingFile(folder_ + "/absent.json").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(ReadScalingFile(folder_).ok()) << "a folder is no scaling file";
  EXPECT_FALSE(WriteScalingFile(folder_ + "/absent/scaling.json", *ComputeScaling(SmallData())).ok());
}

}  // namespace
}  // namespace gradoracle
