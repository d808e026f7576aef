#include "client/estimation/design_pairs.h"

#include <random>

#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

constexpr int64_t kDimension = 7;
constexpr double kRadius = 3;

// `pairs` pairs of direction j of g(w) = H (w - w*) + deviation * noise.
void AddPairs(const Eigen::MatrixXd& hessian, const Eigen::VectorXd& optimum, double deviation, int64_t direction,
              int64_t pairs, std::mt19937_64& generator, DesignPairs& design) {
  const auto at = [&](const Eigen::VectorXd& weights) -> RowMajorMatrix {
    return (deviation * StandardNormal(generator, pairs, kDimension)).rowwise() +
           (hessian * (weights - optimum)).transpose();
  };
  const Eigen::VectorXd point = design.Point(direction);
  const RowMajorMatrix plus = at(point);
  design.Add(direction, plus, at(-point));
}

class DesignPairsTest : public ::testing::Test {
 protected:
  std::mt19937_64 generator_{1};
  Eigen::MatrixXd root_ = StandardNormal(generator_, kDimension, kDimension);
  Eigen::MatrixXd hessian_ = root_ * root_.transpose();
  Eigen::VectorXd optimum_ = Eigen::VectorXd::LinSpaced(kDimension, -5, 9);
};

// Catches: a frame that is not orthonormal, a wrong divisor, an intercept that leaks into the slope.
TEST_F(DesignPairsTest, AreExactWithoutNoise) {
  DesignPairs design(kDimension, kRadius, generator_);
  for (int64_t j = 0; j < kDimension; ++j) {
    EXPECT_NEAR(design.Point(j).norm(), kRadius, 1e-14);
    AddPairs(hessian_, optimum_, 0, j, 1 + j % 3, generator_, design);
  }
  EXPECT_EQ(design.pairs(), 1 + 2 + 3 + 1 + 2 + 3 + 1);
  EXPECT_EQ(design.fewest_pairs(), 1);
  EXPECT_TRUE(design.Hessian().isApprox(hessian_, 1e-12));
  EXPECT_NEAR(design.Trace(), hessian_.trace(), 1e-10);
  EXPECT_NEAR(design.MidpointTrace(), 0, 1e-18 * hessian_.squaredNorm() * optimum_.squaredNorm() + 1e-20);
  EXPECT_TRUE(design.MeanGradient().isApprox(-hessian_ * optimum_, 1e-12));
}

// tr N is the trace of one gradient's covariance: d deviation^2. 4000 pairs, d = 7: relative sd sqrt(2/28000) = 0.0085.
TEST_F(DesignPairsTest, MidpointsTellTheNoise) {
  DesignPairs design(kDimension, kRadius, generator_);
  for (int64_t j = 0; j < 2; ++j) AddPairs(hessian_, optimum_, 0.5, j, 2000, generator_, design);
  EXPECT_NEAR(design.MidpointTrace(), kDimension * 0.25, 6 * 0.0085 * kDimension * 0.25);
}

// Catches: differences that keep some of H, or whose size is not that of the error: over 300 designs, mean squared
// Frobenius norms of errors and differences, each of relative sd about sqrt(2/(28 * 300)) = 0.015, agree within 10 %;
// uneven and odd numbers of pairs included.
TEST_F(DesignPairsTest, DifferencesHaveTheSizeOfTheError) {
  double errors = 0;
  double differences = 0;
  for (int run = 0; run < 300; ++run) {
    DesignPairs design(kDimension, kRadius, generator_);
    for (int64_t j = 0; j < kDimension; ++j) AddPairs(hessian_, optimum_, 1, j, 2 + 5 * j, generator_, design);
    errors += (design.Hessian() - hessian_).squaredNorm();
    Eigen::MatrixXd lower;
    design.DrawDifference(generator_, lower);
    differences += Eigen::MatrixXd(lower.selfadjointView<Eigen::Lower>()).squaredNorm();
  }
  EXPECT_NEAR(differences / errors, 1, 0.1);
}

}  // namespace
}  // namespace gradoracle
