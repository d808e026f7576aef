#include "client/estimation/frequent_directions.h"

#include <algorithm>
#include <random>

#include "Eigen/Eigenvalues"
#include "client/estimation/row_rotation.h"
#include "core/error_norm.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

RowMajorMatrix Decaying(std::mt19937_64& generator, int64_t count, int64_t dimension) {
  const Eigen::ArrayXd spectrum = Eigen::ArrayXd::LinSpaced(dimension, 1, static_cast<double>(dimension)).inverse();
  return StandardNormal(generator, count, dimension) * spectrum.sqrt().matrix().asDiagonal();
}

// 0 <= G'G - B'B <= deficit I and the deficit's own bound for every k < l, up to rounding.
void ExpectBounds(const RowMajorMatrix& gradients, const FrequentDirections& sketch) {
  const int64_t l = sketch.sketch_rows();
  ASSERT_LE(sketch.rows().rows(), l);
  const Eigen::MatrixXd moment = gradients.transpose() * gradients;
  const Eigen::VectorXd spectrum = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(moment).eigenvalues().reverse();
  const Eigen::VectorXd difference =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(moment - sketch.rows().transpose() * sketch.rows()).eigenvalues();
  const double rounding = 1e-11 * spectrum(0);
  EXPECT_GE(difference(0), -rounding);
  EXPECT_LE(difference.tail(1)(0), sketch.deficit() + rounding);
  EXPECT_NEAR(sketch.square_norm(), moment.trace(), 1e-11 * moment.trace());
  for (int64_t k = 0; k < l; ++k) {
    const double tail = spectrum.tail(spectrum.size() - k).sum();
    EXPECT_LE(sketch.deficit(), tail / static_cast<double>(l - k) + rounding) << k;
  }
}

// Catches: subtracting the wrong singular value, keeping a row too many, not adding up what was subtracted; chunks of
// one row, of less and of more than 2l.
TEST(FrequentDirections, KeepsLibertysBoundForEveryRank) {
  std::mt19937_64 generator(1);
  const RowMajorMatrix gradients = Decaying(generator, 600, 60);
  for (const int64_t chunk : {1, 7, 600}) {
    for (const int64_t l : {1, 5, 20}) {
      FrequentDirections sketch(60, l);
      for (int64_t begin = 0; begin < 600; begin += chunk) {
        sketch.Add(gradients.middleRows(begin, std::min<int64_t>(chunk, 600 - begin)));
      }
      ExpectBounds(gradients, sketch);
      EXPECT_GT(sketch.deficit(), 0);
    }
  }
}

// Catches: merging that forgets one side's deficit or square norm.
TEST(FrequentDirections, MergedSketchesKeepTheBound) {
  std::mt19937_64 generator(2);
  const RowMajorMatrix gradients = Decaying(generator, 500, 40);
  FrequentDirections first(40, 10), second(40, 10), third(40, 10);
  first.Add(gradients.topRows(300));
  second.Add(gradients.middleRows(300, 5));
  third.Add(gradients.bottomRows(195));
  second.Merge(third);
  first.Merge(second);
  ExpectBounds(gradients, first);
}

// Catches: an error where none is allowed. Rank 4 fits into 6 rows, whatever the number of gradients.
TEST(FrequentDirections, IsExactForLowRank) {
  std::mt19937_64 generator(3);
  const RowMajorMatrix gradients = StandardNormal(generator, 200, 4) * StandardNormal(generator, 4, 50);
  FrequentDirections sketch(50, 6);
  sketch.Add(gradients);
  const Eigen::MatrixXd moment = gradients.transpose() * gradients;
  EXPECT_LT((moment - sketch.rows().transpose() * sketch.rows()).norm(), 1e-11 * moment.norm());
  EXPECT_LT(sketch.deficit(), 1e-11 * moment.trace());
  sketch.Orthogonalise();
  ASSERT_EQ(sketch.rows().rows(), 4);
  const Eigen::MatrixXd gram = sketch.rows() * sketch.rows().transpose();
  EXPECT_LT((gram - Eigen::MatrixXd(gram.diagonal().asDiagonal())).norm(), 1e-11 * gram.norm());
  EXPECT_GE(gram(0, 0), gram(1, 1));
  EXPECT_LT((moment - sketch.rows().transpose() * sketch.rows()).norm(), 1e-11 * moment.norm());
}

// Catches: a bound that holds by being far too large. Theory 2: l = 40, d = 400, 4000 rows of spectrum 1/j: error .071
// of the norm, bound .150 at k = 20 (doubled rows there; with the same buffer here).
TEST(FrequentDirections, ErrorIsThatOfTheTheory) {
  std::mt19937_64 generator(4);
  const RowMajorMatrix gradients = Decaying(generator, 4000, 400);
  FrequentDirections sketch(400, 40);
  sketch.Add(gradients);
  const Eigen::MatrixXd moment = gradients.transpose() * gradients;
  const double error = *RelativeError(sketch.rows().transpose() * sketch.rows(), moment);
  EXPECT_NEAR(error / 0.071, 1, 0.15);
}

// Catches: Lanczos on the wrong operator, signs lost: against the matrix itself, below and above the size where it is
// formed.
TEST(RowRotation, WeightedGramNormIsTheNorm) {
  std::mt19937_64 generator(5);
  for (const int64_t k : {20, 150}) {
    const RowMajorMatrix rows = Decaying(generator, k, 200);
    Eigen::VectorXd weights = StandardNormal(generator, k, 1);
    weights *= -3;
    const GramEigen gram = DecomposeGram(rows);
    const Eigen::MatrixXd coordinates = gram.eigenvectors * gram.squares.cwiseSqrt().asDiagonal();
    const double truth = SpectralNormSymmetric(rows.transpose() * weights.asDiagonal() * rows);
    EXPECT_NEAR(WeightedGramNorm(coordinates, weights) / truth, 1, 1e-5);
  }
}

}  // namespace
}  // namespace gradoracle
