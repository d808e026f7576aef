#include "core/error_norm.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "Eigen/Eigenvalues"
#include "Eigen/QR"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

Eigen::MatrixXd RandomMatrix(Eigen::Index dimension, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  return Eigen::MatrixXd::NullaryExpr(dimension, dimension, [&]() { return normal(generator); });
}

// Q diag(eigenvalues) Q' with a random rotation Q.
Eigen::MatrixXd WithEigenvalues(const Eigen::VectorXd& eigenvalues, uint64_t seed) {
  const Eigen::MatrixXd rotation = RandomMatrix(eigenvalues.size(), seed).householderQr().householderQ();
  return rotation * eigenvalues.asDiagonal() * rotation.transpose();
}

// Chosen spectra on both sides of d = 256. Catches: largest eigenvalue in place of largest magnitude, singular or
// Frobenius norm, a Lanczos run that stops early.
TEST(SpectralNormTest, ChosenSpectra) {
  for (const Eigen::Index dimension : {1, 2, 31, 256, 257, 400}) {
    Eigen::VectorXd eigenvalues = Eigen::VectorXd::LinSpaced(dimension, 0.1, 2.0);
    eigenvalues[0] = -3.0;
    EXPECT_NEAR(SpectralNormSymmetric(WithEigenvalues(eigenvalues, 1)), 3.0, 3e-6) << "negative, d = " << dimension;
    eigenvalues[0] = 5.0;
    EXPECT_NEAR(SpectralNormSymmetric(WithEigenvalues(eigenvalues, 2)), 5.0, 5e-6) << "positive, d = " << dimension;
    EXPECT_NEAR(SpectralNormSymmetric(Eigen::MatrixXd::Identity(dimension, dimension)), 1.0, 1e-12);
    EXPECT_EQ(SpectralNormSymmetric(Eigen::MatrixXd::Zero(dimension, dimension)), 0.0);
  }
}

// A semicircle spectrum has no gap at its edge: the hard case for Lanczos, and what an estimation error looks like.
TEST(SpectralNormTest, LanczosAgreesWithTheFullSpectrum) {
  const Eigen::MatrixXd random = RandomMatrix(300, 3);
  const Eigen::MatrixXd symmetric = random + random.transpose();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> full(symmetric, Eigen::EigenvaluesOnly);
  const double exact = full.eigenvalues().cwiseAbs().maxCoeff();
  EXPECT_NEAR(SpectralNormSymmetric(symmetric), exact, 2e-6 * exact);
}

TEST(SpectralNormTest, ReadsTheLowerTriangleOnlyAndNeverOverflows) {
  Eigen::MatrixXd matrix(2, 2);
  matrix << 0, std::nan(""), 2, 0;
  EXPECT_NEAR(SpectralNormSymmetric(matrix), 2.0, 1e-15);
  for (const double scale : {1e-300, 1e300}) {
    for (const Eigen::Index dimension : {3, 300}) {
      EXPECT_NEAR(SpectralNormSymmetric(Eigen::MatrixXd::Constant(dimension, dimension, scale)) / scale,
                  static_cast<double>(dimension), 1e-6 * static_cast<double>(dimension));
    }
  }
  matrix(1, 0) = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(SpectralNormSymmetric(matrix)));
}

// Catches: division by the estimate's norm, Frobenius norms, an antisymmetric part counted.
TEST(RelativeErrorTest, KnownValues) {
  const Eigen::MatrixXd truth = Eigen::Vector3d(4, 2, 1).asDiagonal();
  EXPECT_EQ(*RelativeError(truth, truth), 0.0);
  EXPECT_NEAR(*RelativeError(1.25 * truth, truth), 0.25, 1e-15);
  EXPECT_NEAR(*RelativeError(Eigen::MatrixXd::Zero(3, 3), truth), 1.0, 1e-15);
  Eigen::MatrixXd estimate = truth;
  estimate(2, 2) -= 3;
  EXPECT_NEAR(*RelativeError(estimate, truth), 0.75, 1e-15);
  estimate = truth;
  estimate(0, 1) += 1;
  estimate(1, 0) -= 1;
  EXPECT_NEAR(*RelativeError(estimate, truth), 0.0, 1e-15);
}

TEST(RelativeErrorTest, RefusesWhatHasNoAnswer) {
  const Eigen::MatrixXd truth = Eigen::MatrixXd::Identity(3, 3);
  EXPECT_EQ(RelativeError(Eigen::MatrixXd::Identity(2, 2), truth).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RelativeError(Eigen::MatrixXd::Zero(3, 2), Eigen::MatrixXd::Zero(3, 2)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RelativeError(Eigen::MatrixXd(0, 0), Eigen::MatrixXd(0, 0)).status().code(),
            absl::StatusCode::kInvalidArgument);
  Eigen::MatrixXd broken = truth;
  broken(0, 2) = std::nan("");
  EXPECT_EQ(RelativeError(broken, truth).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RelativeError(truth, broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RelativeError(truth, Eigen::MatrixXd::Zero(3, 3)).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace gradoracle
