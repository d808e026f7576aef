// The parts of training that need no oracle: averages, predicted counts.
#include <cmath>
#include <random>

#include "client/optimise/tail_average.h"
#include "client/optimise/training_plan.h"
#include "core/errors.h"
#include "core/regression_data.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

// Would catch: a wrong weighting or identity. Without noise H (w_bar - w*) = g_bar holds exactly, so that with P =
// H^{-1} (m huge) the estimate is the excess risk itself, to rounding and the factor of P.
TEST(TailAverage, WithoutNoiseTheEstimateIsTheExcessRisk) {
  Eigen::MatrixXd hessian(2, 2);
  hessian << 1, 0.3, 0.3, 0.5;
  const Eigen::Vector2d optimum(1, -2);
  const Preconditioner inverse = *Preconditioner::FromHessian(hessian, int64_t{1} << 50, {});
  TailAverage average(2);
  Eigen::VectorXd weights = Eigen::VectorXd::Zero(2);
  for (int64_t step = 0; step < 60; ++step) {
    const Eigen::VectorXd gradient = hessian * (weights - optimum);
    average.Add(weights, gradient, 1 + step % 3, 0, 1);
    weights -= 0.4 * gradient;
    const TailAverage::Window window = average.Best(&inverse, std::nullopt, 0.95);
    const Eigen::VectorXd difference = window.weights - optimum;
    EXPECT_NEAR(*window.excess_risk.estimate, 0.5 * difference.dot(hessian * difference), 1e-12);
    EXPECT_GE(2 * window.gradients, average.gradients());
  }
  EXPECT_LT(*average.Best(&inverse, std::nullopt, 0.95).excess_risk.estimate, 1e-3);
  EXPECT_FALSE(average.Best(nullptr, std::nullopt, 0.95).excess_risk.estimate.has_value());
}

// Would catch: noise counted per step instead of per gradient, or degrees of freedom lost. Pure noise with variance
// tr(PS) = 3 in 3 dimensions: the estimate is 3/(2T); 4000 gradients give tr(PS) within 2.5 % (4.3 deviations of
// sqrt(2/(3 * 3000)) = 1.5 %, below 1e-4; the seed is fixed).
TEST(TailAverage, NoiseEntersAsTraceOverTwiceTheGradients) {
  std::mt19937_64 generator(1);
  std::normal_distribution<double> normal;
  const Preconditioner inverse = *Preconditioner::FromHessian(Eigen::Matrix3d::Identity(), int64_t{1} << 50, {});
  TailAverage average(3);
  for (int step = 0; step < 1000; ++step) {
    const RowMajorMatrix gradients = RowMajorMatrix::NullaryExpr(4, 3, [&]() { return normal(generator); });
    const Eigen::VectorXd mean = gradients.colwise().mean().transpose();
    const double form = (gradients.rowwise() - mean.transpose()).squaredNorm();
    average.Add(Eigen::Vector3d::Zero(), Eigen::Vector3d::Zero(), 4, form, 3);
  }
  const ExcessRisk risk = average.Best(&inverse, std::nullopt, 0.95).excess_risk;
  EXPECT_NEAR(*risk.estimate, 3.0 / 8000, 0.065 * 3.0 / 8000);
  // The limit is the 95 % quantile of chi^2_3, 7.815, in place of its mean, 3.
  EXPECT_NEAR(*risk.upper / *risk.estimate, 7.815 / 3, 0.02);
}

// Would catch: a wrong recursion. One direction, no noise: the mean of (1 - s)^t over t = h ... 2h - 1 is
// (1 - s)^h (1 - (1 - s)^h)/(s h).
TEST(TrainingPlan, PredictionsFollowTheirFormulas) {
  EXPECT_DOUBLE_EQ(FloorGradients(50, 0.5, 0.01), 1250);
  const Eigen::VectorXd one = Eigen::VectorXd::Ones(1);
  const double count = PredictSgd(one, one, 0.1, 0, 1e-4);
  const double decay = std::pow(0.9, count / 2);
  const double mean = decay * (1 - decay) / (0.1 * count / 2);
  EXPECT_LE(mean * mean, 1e-4);
  EXPECT_GT(mean * mean, 1e-4 / 4);  // the search goes in steps of 10 %
  EXPECT_GE(PredictSgd(one, one, 0.1, 1, 1e-3), 2 * FloorGradients(1, 1, 1e-3));
  EXPECT_EQ(PredictSgd(Eigen::VectorXd::Constant(1, 1e-12), one, 1, 0, 1e-3), 1e9);
  EXPECT_GT(PredictMixed(10, 1, 1, 1e-3), 40 + FloorGradients(10, 1, 1e-3));
  for (const TrainingMethod method : {TrainingMethod::kSgd, TrainingMethod::kPreconditioned, TrainingMethod::kNewton,
                                      TrainingMethod::kMixed, TrainingMethod::kAuto}) {
    EXPECT_EQ(*ParseTrainingMethod(TrainingMethodName(method)), method);
  }
  EXPECT_EQ(ErrorReason(ParseTrainingMethod("adam").status()), "TRAINING_METHOD_UNKNOWN");
}

// Would catch: eigenvalues left as they are, or pulled all the way.
TEST(TrainingPlan, ShrinkageKeepsTheSumAndNarrowsTheSpread) {
  const Eigen::Vector4d eigenvalues(0, 0, 1, 7);
  const Eigen::VectorXd few = ShrunkEigenvalues(eigenvalues, 3);
  const Eigen::VectorXd many = ShrunkEigenvalues(eigenvalues, 1000);
  EXPECT_NEAR(few.sum(), 8, 1e-12);
  EXPECT_GT(few(0), many(0));
  EXPECT_GT(many(0), 0);
  EXPECT_NEAR(many(3), 7, 0.1);
}

}  // namespace
}  // namespace gradoracle
