#include "client/estimation/preconditioner.h"

#include <cmath>
#include <random>

#include "Eigen/LU"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

Eigen::MatrixXd Hessian() {
  Eigen::MatrixXd hessian(3, 3);
  hessian << 4, 1, 0, 1, 3, 1, 0, 1, 2;
  return hessian;
}

// Would catch: a wrong factor or inverse. P = (m - d - 2)/(m - 1) H^{-1}, here 95/99.
TEST(Preconditioner, IsTheInverseTimesItsFactor) {
  const Eigen::MatrixXd hessian = Hessian();
  const absl::StatusOr<Preconditioner> inverse = Preconditioner::FromHessian(hessian, 100, {});
  ASSERT_TRUE(inverse.ok());
  const Eigen::Vector3d vector(1, -2, 0.5);
  const Eigen::VectorXd expected = 95.0 / 99 * hessian.inverse() * vector;
  EXPECT_LT((inverse->Apply(vector) - expected).norm(), 1e-13);
  EXPECT_NEAR(inverse->QuadraticForm(vector), vector.dot(expected), 1e-13);
  EXPECT_NEAR(inverse->TraceOfProduct(hessian), 3 * 95.0 / 99, 1e-13);
  const double edge = (1 + std::sqrt(0.03)) * (1 + std::sqrt(0.03)) * 99 / 95;
  EXPECT_NEAR(inverse->LargestUnderestimate(), edge, 1e-12);
}

// Would catch: a unit diagonal imposed on one side only, or a feature without gradients dividing by zero.
TEST(Preconditioner, ImposesTheUnitDiagonal) {
  Eigen::MatrixXd correlation(3, 3);
  correlation << 1, 0.5, 0, 0.5, 1, 0, 0, 0, 1;
  const Eigen::Vector3d scale(3, 0.1, 0);
  const absl::StatusOr<Preconditioner> inverse = Preconditioner::FromHessian(
      scale.asDiagonal() * correlation * scale.asDiagonal(), 1000000, {.unit_diagonal = true});
  ASSERT_TRUE(inverse.ok());
  EXPECT_EQ(inverse->rank(), 3);
  const Eigen::Vector3d vector(1, 2, 3);
  EXPECT_LT((inverse->Apply(vector) - correlation.inverse() * vector).norm(), 1e-4);
}

// Would catch: an inverse of a singular matrix that blows up. Collinear features: the pseudo-inverse.
TEST(Preconditioner, InvertsWhatCanBeInverted) {
  const Eigen::Vector2d direction(3, 4);
  const Eigen::MatrixXd hessian = direction * direction.transpose();
  const absl::StatusOr<Preconditioner> inverse = Preconditioner::FromHessian(hessian, 1000000, {});
  ASSERT_TRUE(inverse.ok());
  EXPECT_EQ(inverse->rank(), 1);
  EXPECT_LT((inverse->Apply(direction) - direction / 25).norm(), 1e-5);
  EXPECT_LT(inverse->Apply(Eigen::Vector2d(4, -3)).norm(), 1e-9);
}

// Would catch: an inverse from too few gradients, which is noise. m - 1 is the rank of a covariance from m <= d.
TEST(Preconditioner, RefusesTooFewGradients) {
  EXPECT_EQ(ErrorReason(Preconditioner::FromHessian(Hessian(), 5, {}).status()), "TOO_FEW_GRADIENTS_TO_INVERT");
  EXPECT_TRUE(Preconditioner::FromHessian(Hessian(), 6, {}).ok());
  const Eigen::Vector3d single(1, 2, 2);
  const absl::Status status = Preconditioner::FromHessian(single * single.transpose(), 2, {}).status();
  EXPECT_EQ(ErrorField(status), "count");
  EXPECT_THAT(std::string(status.message()), HasSubstr("at least 6"));
  EXPECT_EQ(ErrorReason(Preconditioner::FromHessian(Eigen::MatrixXd(2, 3), 9, {}).status()), "HESSIAN_SHAPE");
  EXPECT_EQ(ErrorReason(Preconditioner::FromHessian(Eigen::MatrixXd::Zero(2, 2), 9, {}).status()), "HESSIAN_ZERO");
  EXPECT_EQ(ErrorReason(Preconditioner::FromHessian(Hessian() * std::nan(""), 9, {}).status()), "HESSIAN_NOT_FINITE");
}

}  // namespace
}  // namespace gradoracle
