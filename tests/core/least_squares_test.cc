#include "core/least_squares.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "Eigen/QR"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/scaling.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

RegressionData Data(const RowMajorMatrix& features, const Eigen::VectorXd& targets) {
  RegressionData data{features, targets, {}, "y"};
  for (Eigen::Index j = 0; j < features.cols(); ++j) data.feature_names.push_back(absl::StrCat("x", j));
  return data;
}

RowMajorMatrix RandomFeatures(int64_t row_count, int64_t dimension, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  return RowMajorMatrix::NullaryExpr(row_count, dimension, [&]() { return normal(generator); });
}

Eigen::VectorXd RandomVector(int64_t size, uint64_t seed) { return RandomFeatures(size, 1, seed); }

// Longley (1967), as certified by NIST's Statistical Reference Datasets: 16 rows, an intercept and six features of very
// different units, condition number about 5e9. Solving the normal equations keeps no digit of it.
RegressionData Longley() {
  RowMajorMatrix features(16, 7);
  features << 1, 83.0, 234289, 2356, 1590, 107608, 1947,  //
      1, 88.5, 259426, 2325, 1456, 108632, 1948,          //
      1, 88.2, 258054, 3682, 1616, 109773, 1949,          //
      1, 89.5, 284599, 3351, 1650, 110929, 1950,          //
      1, 96.2, 328975, 2099, 3099, 112075, 1951,          //
      1, 98.1, 346999, 1932, 3594, 113270, 1952,          //
      1, 99.0, 365385, 1870, 3547, 115094, 1953,          //
      1, 100.0, 363112, 3578, 3350, 116219, 1954,         //
      1, 101.2, 397469, 2904, 3048, 117388, 1955,         //
      1, 104.6, 419180, 2822, 2857, 118734, 1956,         //
      1, 108.4, 442769, 2936, 2798, 120445, 1957,         //
      1, 110.8, 444546, 4681, 2637, 121950, 1958,         //
      1, 112.6, 482704, 3813, 2552, 123366, 1959,         //
      1, 114.2, 502601, 3931, 2514, 125368, 1960,         //
      1, 115.7, 518173, 4806, 2572, 127852, 1961,         //
      1, 116.9, 554894, 4007, 2827, 130081, 1962;
  Eigen::VectorXd targets(16);
  targets << 60323, 61122, 60171, 61187, 63221, 63639, 64989, 63761, 66019, 67857, 68169, 66513, 68655, 69564, 69331,
      70551;
  return Data(features, targets);
}

// Certified values to 9 digits. Catches: normal equations, reflections across units (7 digits), divisor N, a rank lost
// to the features' units.
TEST(FitLeastSquaresTest, LongleyAsCertifiedByNist) {
  const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(Longley());
  ASSERT_TRUE(fit.ok()) << fit.status();
  const std::vector<double> certified = {-3482258.63459582, 15.0618722713733,    -0.0358191792925910, -2.02022980381683,
                                         -1.03322686717359, -0.0511041056535807, 1829.15146461355};
  for (Eigen::Index j = 0; j < 7; ++j) {
    const double expected = certified[static_cast<size_t>(j)];
    EXPECT_NEAR(fit->weights[j], expected, 1e-9 * std::abs(expected)) << "coefficient " << j;
  }
  EXPECT_EQ(fit->rank, 7);
  EXPECT_EQ(fit->degrees_of_freedom, 9);
  EXPECT_NEAR(fit->residual_variance, 304.854073561965 * 304.854073561965, 1e-9 * 92936);
  EXPECT_NEAR(fit->residual_variance * 9, 836424.055505915, 1e-9 * 836424);
  EXPECT_FALSE(fit->interpolates);
  EXPECT_THAT(fit->collinear_features, IsEmpty());
}

// Against a direct QR of the whole matrix, with sizes on both sides of the block of rows.
// Catches: a block dropped, counted twice or its last rows cut off.
TEST(FitLeastSquaresTest, BlocksAgreeWithOneFactorisation) {
  for (const int64_t row_count : {6, 511, 512, 513, 1024, 1500, 4001}) {
    const RegressionData data = Data(RandomFeatures(row_count, 5, 1), RandomVector(row_count, 2));
    const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(data);
    ASSERT_TRUE(fit.ok()) << fit.status();
    const Eigen::VectorXd weights = data.features.householderQr().solve(data.targets);
    const double squares = (data.features * weights - data.targets).squaredNorm();
    EXPECT_LT((fit->weights - weights).norm(), 1e-11 * weights.norm()) << row_count;
    EXPECT_NEAR(fit->residual_variance, squares / static_cast<double>(row_count - 5), 1e-11 * squares) << row_count;
    const Eigen::MatrixXd hessian = data.features.transpose() * data.features / static_cast<double>(row_count);
    EXPECT_LT((fit->hessian - hessian).norm(), 1e-13 * hessian.norm()) << row_count;
    EXPECT_EQ(fit->hessian, fit->hessian.transpose());
  }
}

// Features with eigenvalues 4, 1, 1/4 of X'X/N by construction. Catches: singular values in place of eigenvalues,
// ascending order, the divisor.
TEST(FitLeastSquaresTest, EigenvaluesByConstruction) {
  const Eigen::MatrixXd orthogonal =
      Eigen::MatrixXd(RandomFeatures(100, 3, 3)).householderQr().householderQ() * Eigen::MatrixXd::Identity(100, 3);
  const Eigen::MatrixXd rotation = Eigen::MatrixXd(RandomFeatures(3, 3, 4)).householderQr().householderQ();
  const Eigen::Vector3d roots(2, 1, 0.5);
  const RegressionData data = Data(10 * orthogonal * roots.asDiagonal() * rotation.transpose(), RandomVector(100, 5));
  const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(data);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_LT((fit->eigenvalues - Eigen::Vector3d(4, 1, 0.25)).norm(), 1e-13);
  EXPECT_NEAR(EffectiveRank(fit->eigenvalues), 5.25 / 4, 1e-14);
  EXPECT_EQ(EffectiveRank(Eigen::VectorXd::Zero(3)), 0);
}

// x2 = x0 + 2 x1, x4 constant zero; x3 free. The relation is named, the fit is that of the independent columns, the
// weights have the least norm. Catches: rank by a fixed pivot order, N - d degrees of freedom, an arbitrary solution.
TEST(FitLeastSquaresTest, CollinearFeaturesAreNamedAndCostNoDegreeOfFreedom) {
  RowMajorMatrix features = RandomFeatures(200, 5, 6);
  features.col(2) = features.col(0) + 2 * features.col(1);
  features.col(4).setZero();
  const RegressionData data = Data(features, RandomVector(200, 7));
  const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(data);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_EQ(fit->rank, 3);
  EXPECT_EQ(fit->degrees_of_freedom, 197);
  EXPECT_THAT(fit->collinear_features, ElementsAre("x0", "x1", "x2", "x4"));
  EXPECT_FALSE(fit->interpolates);

  Eigen::MatrixXd independent(200, 3);
  independent << features.col(0), features.col(1), features.col(3);
  const Eigen::VectorXd reduced = independent.householderQr().solve(data.targets);
  const double squares = (independent * reduced - data.targets).squaredNorm();
  EXPECT_NEAR(fit->residual_variance, squares / 197, 1e-12 * squares);

  const Eigen::VectorXd least_norm = Eigen::MatrixXd(features).completeOrthogonalDecomposition().solve(data.targets);
  EXPECT_LT((fit->weights - least_norm).norm(), 1e-12);
  EXPECT_NEAR(fit->eigenvalues[4], 0, 1e-14);
}

// The same relation after standardising, where it holds to rounding only; and in units 1e12 apart, where a tolerance on
// unscaled columns would call an independent feature dependent.
TEST(FitLeastSquaresTest, RankDoesNotDependOnUnits) {
  RowMajorMatrix features = RandomFeatures(300, 4, 8);
  features.col(0).array() += 1000;
  features.col(3) = features.col(0) - 3 * features.col(1);
  RegressionData data = Data(features, RandomVector(300, 9));
  data.features.col(2) *= 1e-12;
  EXPECT_EQ(FitLeastSquares(data)->rank, 3);
  const absl::StatusOr<Scaling> scaling = ComputeScaling(data);
  ASSERT_TRUE(scaling.ok()) << scaling.status();
  ASSERT_TRUE(ApplyScaling(*scaling, data).ok());
  const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(data);
  EXPECT_EQ(fit->rank, 3);
  EXPECT_THAT(fit->collinear_features, ElementsAre("x0", "x1", "x3"));
}

// Nearly collinear is not collinear: a condition number of 1e8 keeps full rank.
TEST(FitLeastSquaresTest, NearCollinearityKeepsItsRank) {
  RowMajorMatrix features = RandomFeatures(300, 3, 10);
  features.col(2) = features.col(0) + 1e-8 * features.col(2);
  EXPECT_EQ(FitLeastSquares(Data(features, RandomVector(300, 11)))->rank, 3);
}

// d >= N, d == N, and fewer degrees of freedom after centring: the fit passes through all targets. Catches: a division
// by zero, a NaN or rounding dust served as residual variance, the wrong solution among many.
TEST(FitLeastSquaresTest, InterpolationHasResidualVarianceZero) {
  for (const int64_t dimension : {20, 21, 50}) {
    for (const bool standardise : {false, true}) {
      RegressionData data = Data(RandomFeatures(20, dimension, 12), RandomVector(20, 13));
      if (standardise) {
        const Scaling scaling = *ComputeScaling(data);
        ASSERT_TRUE(ApplyScaling(scaling, data).ok());
      }
      const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(data);
      ASSERT_TRUE(fit.ok()) << fit.status();
      EXPECT_EQ(fit->rank, standardise ? 19 : 20) << dimension;
      EXPECT_EQ(fit->degrees_of_freedom, standardise ? 1 : 0) << dimension;
      EXPECT_TRUE(fit->interpolates) << dimension;
      EXPECT_EQ(fit->residual_variance, 0.0) << dimension;
      EXPECT_LT((data.features * fit->weights - data.targets).norm(), 1e-11) << dimension;
      const Eigen::VectorXd least_norm =
          Eigen::MatrixXd(data.features).completeOrthogonalDecomposition().solve(data.targets);
      EXPECT_LT((fit->weights - least_norm).norm(), 1e-9 * least_norm.norm()) << dimension;
    }
  }
}

TEST(FitLeastSquaresTest, ExactTargetsInterpolateAndSmallNoiseDoesNot) {
  const RowMajorMatrix features = RandomFeatures(1000, 4, 14);
  const Eigen::VectorXd exact = features * Eigen::Vector4d(1, -2, 3, 0.5);
  EXPECT_TRUE(FitLeastSquares(Data(features, exact))->interpolates);
  const Eigen::VectorXd noise = RandomVector(1000, 15);
  const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(Data(features, exact + 1e-8 * noise));
  EXPECT_FALSE(fit->interpolates);
  // A chi-square of 996 degrees: 1e-16 within 30 % fails with probability below 1e-10.
  EXPECT_NEAR(fit->residual_variance, 1e-16, 0.3e-16);
}

TEST(FitLeastSquaresTest, EmptyAndOverflowingDataAreErrors) {
  EXPECT_EQ(FitLeastSquares(RegressionData{}).status().code(), absl::StatusCode::kInvalidArgument);
  RowMajorMatrix features = RandomFeatures(10, 2, 16);
  features(3, 1) = 1e200;
  EXPECT_EQ(ErrorReason(FitLeastSquares(Data(features, RandomVector(10, 17))).status()), "DATA_TOO_LARGE");
}

// Rank zero: nothing to solve, every feature a (trivial) combination. Catches: an empty system handed to a solver.
TEST(FitLeastSquaresTest, FeaturesOfZeros) {
  const Eigen::VectorXd targets = RandomVector(50, 18);
  const absl::StatusOr<LeastSquaresFit> fit = FitLeastSquares(Data(RowMajorMatrix::Zero(50, 2), targets));
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_EQ(fit->rank, 0);
  EXPECT_EQ(fit->weights, Eigen::VectorXd::Zero(2));
  EXPECT_NEAR(fit->residual_variance, targets.squaredNorm() / 50, 1e-14);
  EXPECT_THAT(fit->collinear_features, ElementsAre("x0", "x1"));
  EXPECT_EQ(EffectiveRank(fit->eigenvalues), 0);
}

// One row, one feature: w = y / x, nothing left to estimate a variance from.
TEST(FitLeastSquaresTest, SingleRow) {
  const absl::StatusOr<LeastSquaresFit> fit =
      FitLeastSquares(Data(RowMajorMatrix::Constant(1, 1, 2.0), Eigen::VectorXd::Constant(1, 6.0)));
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_DOUBLE_EQ(fit->weights[0], 3.0);
  EXPECT_DOUBLE_EQ(fit->hessian(0, 0), 4.0);
  EXPECT_TRUE(fit->interpolates);
}

}  // namespace
}  // namespace gradoracle
