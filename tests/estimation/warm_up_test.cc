#include "client/estimation/warm_up.h"

#include <random>

#include "gtest/gtest.h"
#include "tests/estimation/population_source.h"

namespace gradoracle {
namespace {

constexpr int64_t kDimension = 20;
constexpr int64_t kBatchSize = 64;

class WarmUpPathTest : public ::testing::Test {
 protected:
  RowMajorMatrix At(const Eigen::VectorXd& weights, int64_t count) {
    return GaussianPopulationGradients(generator_, sigma_, weights - optimum_, kBatchSize, kBatchSize, count);
  }
  double Distance(const Eigen::VectorXd& weights) const {  // q/n
    return (weights - optimum_).dot(sigma_ * (weights - optimum_)) / kBatchSize;
  }

  std::mt19937_64 generator_{1};
  Eigen::MatrixXd sigma_ = DecayingCorrelation(kDimension, 0.8);
  Eigen::VectorXd optimum_ = Eigen::VectorXd::LinSpaced(kDimension, -1, 1);
};

// Catches: a sign, a preconditioner or an affine combination gone wrong. From q = 16 n, 16 points of 64 gradients come
// within q = 0.02 n (the floor of their noise is about d/1024 = 0.02 at the optimal combination, and lower in q/n), and
// the rule says so.
TEST_F(WarmUpPathTest, ComesNear) {
  WarmUpPath path(kDimension, kBatchSize, kBatchSize);
  Eigen::VectorXd weights = PointAt(sigma_, optimum_, 16 * kBatchSize);
  EXPECT_FALSE(path.Converged());
  for (int point = 0; point < 16; ++point) {
    path.Add(weights, At(weights, 64));
    if (point < 7) {
      EXPECT_FALSE(path.Converged());
    }
    weights = path.Next(1e6);
  }
  EXPECT_LT(Distance(weights), 0.02);
  EXPECT_EQ(path.points(), 16);
}

// Catches: a limit on norms ignored. What is drawn back goes on from there.
TEST_F(WarmUpPathTest, StaysWithinTheLimit) {
  WarmUpPath path(kDimension, kBatchSize, kBatchSize);
  Eigen::VectorXd weights = Eigen::VectorXd::Zero(kDimension);
  for (int point = 0; point < 12; ++point) {
    path.Add(weights, At(weights, 64));
    weights = path.Next(0.5);
    EXPECT_LE(weights.norm(), 0.5 * (1 + 1e-13));
  }
}

// Fewer gradients than features: the shrunk preconditioner can still be factored.
TEST_F(WarmUpPathTest, NeedsFewGradients) {
  WarmUpPath path(kDimension, kBatchSize, kBatchSize);
  const Eigen::VectorXd weights = PointAt(sigma_, optimum_, 4 * kBatchSize);
  path.Add(weights, At(weights, 2));
  EXPECT_TRUE(path.Next(1e6).allFinite());
}

// At the optimum the diagonal is in no excess; at q = 4n by 4 on average, or more.
TEST_F(WarmUpPathTest, ExcessIsOfTheDiagonal) {
  const WarmUpPath path(kDimension, kBatchSize, kBatchSize);
  const WarmUpPath::Excess near = path.ExcessOf(At(optimum_, 4000));
  EXPECT_NEAR(near.mean, 0, 0.1);
  EXPECT_LT(near.largest, 0.2);
  EXPECT_GT(path.ExcessOf(At(PointAt(sigma_, optimum_, 4 * kBatchSize), 4000)).mean, 3.5);
}

}  // namespace
}  // namespace gradoracle
