#include "client/estimation/unit_diagonal.h"

#include <random>

#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

Eigen::MatrixXd Scatter(std::mt19937_64& generator, int64_t dimension) {
  const RowMajorMatrix rows = StandardNormal(generator, 3 * dimension, dimension);
  return rows.transpose() * rows;
}

Eigen::MatrixXd Imposed(Eigen::MatrixXd hessian) {
  const Eigen::VectorXd scale = UnitDiagonalScale(hessian);
  ImposeUnitDiagonal(scale, hessian);
  return hessian;
}

// Catches: a diagonal that is not one, a scale that survives, a matrix that loses its symmetry.
TEST(UnitDiagonal, TakesOutEveryScaleOfTheFeatures) {
  std::mt19937_64 generator(1);
  const Eigen::MatrixXd hessian = Scatter(generator, 5);
  const Eigen::VectorXd units = Eigen::VectorXd::LinSpaced(5, 0.01, 30);
  const Eigen::MatrixXd imposed = Imposed(hessian);
  EXPECT_EQ(imposed.diagonal(), Eigen::VectorXd::Ones(5));
  EXPECT_TRUE(imposed.isApprox(imposed.transpose(), 1e-15));
  EXPECT_TRUE(Imposed(units.asDiagonal() * hessian * units.asDiagonal()).isApprox(imposed, 1e-13));
  EXPECT_NEAR(imposed(1, 3), hessian(1, 3) / std::sqrt(hessian(1, 1) * hessian(3, 3)), 1e-15);
}

// Catches: a wrong derivative of the delta method, by finite differences.
TEST(UnitDiagonal, LinearisationIsTheDerivative) {
  std::mt19937_64 generator(2);
  const Eigen::MatrixXd hessian = Scatter(generator, 6);
  const Eigen::MatrixXd error = Scatter(generator, 6) - Scatter(generator, 6);
  const double step = 1e-5;
  const Eigen::MatrixXd slope = (Imposed(hessian + step * error) - Imposed(hessian - step * error)) / (2 * step);
  Eigen::MatrixXd lower = error;
  LineariseUnitDiagonal(UnitDiagonalScale(hessian), Imposed(hessian), lower);
  const Eigen::MatrixXd linear = lower.selfadjointView<Eigen::Lower>();
  EXPECT_LT((linear - slope).norm(), 1e-7 * slope.norm());
}

}  // namespace
}  // namespace gradoracle
