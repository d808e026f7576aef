#include "client/estimation/factored_hessian.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "core/error_norm.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

FactoredHessianEstimator::Options Options(HessianForm form, int64_t expected_count, int64_t sketch_rows = 8) {
  FactoredHessianEstimator::Options options;
  options.form = form;
  options.batch_size = 50;
  options.total_noise_variance = 20;  // scale 2.5
  options.expected_count = expected_count;
  options.sketch_rows = sketch_rows;
  return options;
}

HessianEstimate Estimated(const RowMajorMatrix& gradients, const FactoredHessianEstimator::Options& options,
                          int64_t chunk = 100, uint64_t seed = 9) {
  absl::StatusOr<FactoredHessianEstimator> estimator = FactoredHessianEstimator::Create(gradients.cols(), options);
  EXPECT_TRUE(estimator.ok()) << estimator.status();
  for (int64_t begin = 0; begin < gradients.rows(); begin += chunk) {
    EXPECT_TRUE(estimator->Add(gradients.middleRows(begin, std::min(chunk, gradients.rows() - begin))).ok());
  }
  EXPECT_EQ(estimator->count(), gradients.rows());
  std::mt19937_64 generator(seed);
  absl::StatusOr<HessianEstimate> estimate = estimator->TakeEstimate(generator, 0.95);
  EXPECT_TRUE(estimate.ok()) << estimate.status();
  return *std::move(estimate);
}

HessianEstimate Dense(const RowMajorMatrix& gradients, const FactoredHessianEstimator::Options& options) {
  HessianEstimator::Options dense;
  dense.batch_size = options.batch_size;
  dense.total_noise_variance = options.total_noise_variance;
  dense.expected_count = gradients.rows();
  absl::StatusOr<HessianEstimator> estimator = HessianEstimator::Create(gradients.cols(), dense);
  EXPECT_TRUE(estimator->Add(gradients).ok());
  std::mt19937_64 generator(10);
  return *estimator->Estimate(generator, 0.95);
}

RowMajorMatrix Gradients(std::mt19937_64& generator, int64_t count, int64_t dimension) {
  const Eigen::ArrayXd spectrum = Eigen::ArrayXd::LinSpaced(dimension, 1, static_cast<double>(dimension)).inverse();
  RowMajorMatrix gradients = StandardNormal(generator, count, dimension) * spectrum.sqrt().matrix().asDiagonal();
  gradients.rowwise() += 20 * Eigen::RowVectorXd::LinSpaced(dimension, -1, 1);  // mean >> deviation
  return gradients;
}

// Catches: no centring, the scale n/tau^2 or the divisor m - 1 wrong, a rotation that is none. Fewer and more gradients
// than dimensions.
TEST(FactoredHessian, RowSpaceIsTheDenseEstimate) {
  std::mt19937_64 generator(1);
  for (const int64_t m : {2, 40, 300}) {
    const RowMajorMatrix gradients = Gradients(generator, m, 120);
    const FactoredHessianEstimator::Options options = Options(HessianForm::kRowSpace, m);
    const HessianEstimate factored = Estimated(gradients, options);
    const HessianEstimate dense = Dense(gradients, options);
    const Eigen::MatrixXd product = factored.factor.transpose() * factored.factor;
    EXPECT_LT((product - dense.hessian).norm(), 1e-11 * dense.hessian.norm()) << m;
    EXPECT_EQ(factored.factor.rows(), std::min<int64_t>(m - 1, 120));
    EXPECT_EQ(factored.left_out, 0);
    EXPECT_NEAR(factored.eigenvalues(0), dense.eigenvalues(0), 1e-11 * dense.eigenvalues(0));
    EXPECT_NEAR(factored.trace, dense.trace, 1e-11 * dense.trace);
    EXPECT_NEAR(factored.effective_rank, dense.effective_rank, 1e-10 * dense.effective_rank);
    EXPECT_TRUE(factored.mean_gradient.isApprox(dense.mean_gradient, 1e-13));
    EXPECT_EQ(factored.relative_error.estimate.has_value(), m >= 16);
  }
}

// Catches: sketching gradients about a point other than their mean (it is 100 deviations off: B'B would exceed H_hat),
// a left_out in another unit than the factor.
TEST(FactoredHessian, SketchOfTheCentredGradientsKeepsItsBound) {
  std::mt19937_64 generator(2);
  for (const int64_t m : {7, 333, 1000}) {  // the last block unfinished
    const RowMajorMatrix gradients = Gradients(generator, m, 80);
    for (const int64_t l : {1, 8, 30}) {
      const FactoredHessianEstimator::Options options = Options(HessianForm::kSketch, m, l);
      const HessianEstimate factored = Estimated(gradients, options, 13);
      const HessianEstimate dense = Dense(gradients, options);
      ASSERT_LE(factored.factor.rows(), l);
      const Eigen::MatrixXd difference = dense.hessian - factored.factor.transpose() * factored.factor;
      const double rounding = 1e-10 * dense.eigenvalues(0);
      EXPECT_LE(SpectralNormSymmetric(difference), factored.left_out + rounding) << m << " " << l;
      EXPECT_GE(difference.trace(), -rounding);
      EXPECT_NEAR(factored.trace, dense.trace, 1e-10 * dense.trace);
      for (int64_t k = 0; k < l; ++k) {
        const double tail = dense.eigenvalues.tail(80 - k).sum();
        EXPECT_LE(factored.left_out, tail / static_cast<double>(l - k) + rounding) << m << " " << l << " " << k;
      }
    }
  }
}

// Catches: an upper limit that forgets the sampling error, the sketch's own error, or the skew. The truth is known: in
// 20 runs at the level .95 one miss is expected, and more than 7 have probability 4e-6 at exactly .90; theory 1.3
// measured .95 to .99 on this spectrum, the sketch's limit is wider still. Seeds are fixed.
TEST(FactoredHessian, UpperLimitCoversTheTruth) {
  std::mt19937_64 generator(3);
  const int64_t d = 60, m = 200;
  const Eigen::VectorXd spectrum = 2.5 * Eigen::ArrayXd::LinSpaced(d, 1, static_cast<double>(d)).inverse();
  const Eigen::MatrixXd truth = spectrum.asDiagonal();
  for (const HessianForm form : {HessianForm::kRowSpace, HessianForm::kSketch}) {
    int misses = 0;
    double mean_error = 0, mean_upper = 0;
    for (int run = 0; run < 20; ++run) {
      const HessianEstimate factored = Estimated(Gradients(generator, m, d), Options(form, m, 20), 100, 100 + run);
      const double error = *RelativeError(factored.factor.transpose() * factored.factor, truth);
      ASSERT_TRUE(factored.relative_error.upper.has_value());
      if (error > *factored.relative_error.upper) ++misses;
      mean_error += error / 20;
      mean_upper += *factored.relative_error.upper / 20;
    }
    EXPECT_LE(misses, 7) << HessianFormName(form);
    EXPECT_LT(mean_upper, 4 * mean_error) << HessianFormName(form);  // and it says something
  }
}

// Catches: groups, blocks or means lost in a merge.
TEST(ScatterSketch, MergeKeepsTheBound) {
  std::mt19937_64 generator(4);
  const RowMajorMatrix gradients = Gradients(generator, 700, 50);
  ScatterSketch first(50, 12, 350), second(50, 12, 350), other(50, 13, 350);
  ASSERT_TRUE(first.Add(gradients.topRows(401)).ok());
  ASSERT_TRUE(second.Add(gradients.bottomRows(299)).ok());
  ASSERT_TRUE(first.Merge(second).ok());
  EXPECT_EQ(first.count(), 700);
  const ScatterFactor factor = first.Factor(generator, 4);
  const RowMajorMatrix centred = gradients.rowwise() - gradients.colwise().mean();
  const Eigen::MatrixXd scatter = centred.transpose() * centred;
  EXPECT_TRUE(factor.mean.isApprox(gradients.colwise().mean().transpose(), 1e-12));
  EXPECT_NEAR(factor.trace, scatter.trace(), 1e-10 * scatter.trace());
  EXPECT_LE(SpectralNormSymmetric(scatter - factor.rows.transpose() * factor.rows),
            factor.deficit + 1e-10 * scatter.trace());
  EXPECT_EQ(factor.split_norms.size(), 4u);
  EXPECT_EQ(ErrorReason(first.Merge(other)), "SKETCH_ROWS_MISMATCH");
  EXPECT_EQ(ErrorReason(first.Merge(ScatterSketch(49, 12, 350))), "DIMENSION_MISMATCH");
}

// Catches: allocating first; an advice that does not fit either.
TEST(HessianForm, NamesTheFormThatFits) {
  const int64_t d = 30'000;
  EXPECT_GT(EstimateMemory(HessianForm::kDense, d, 2000, 64), 150e9);
  EXPECT_LT(EstimateMemory(HessianForm::kRowSpace, d, 2000, 64), 1e9);
  EXPECT_LT(EstimateMemory(HessianForm::kSketch, d, 2000, 64), 1e9);
  const auto message = [&](HessianForm form, int64_t count, double available) {
    const absl::Status status = CheckMemory(form, d, count, 64, available);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ErrorReason(status), "MEMORY_EXCEEDED");
    EXPECT_EQ(ErrorField(status), "dimension");
    return std::string(status.message());
  };
  EXPECT_THAT(message(HessianForm::kDense, 2000, 1e9), HasSubstr("the form `row_space` needs"));
  EXPECT_THAT(message(HessianForm::kDense, 100'000, 1e9), HasSubstr("the form `sketch` needs"));
  EXPECT_THAT(message(HessianForm::kRowSpace, 100'000, 1e9), HasSubstr("the form `sketch` needs"));
  EXPECT_THAT(message(HessianForm::kDense, 0, 1e9), HasSubstr("the form `sketch` needs"));
  EXPECT_THAT(message(HessianForm::kSketch, 100'000, 1e6), HasSubstr("no form fits"));
  EXPECT_TRUE(CheckMemory(HessianForm::kSketch, d, 100'000, 64, 1e9).ok());
}

TEST(FactoredHessian, RefusesBadInput) {
  const auto field = [](const FactoredHessianEstimator::Options& options, int64_t dimension = 5) {
    return ErrorField(FactoredHessianEstimator::Create(dimension, options).status());
  };
  EXPECT_EQ(field(Options(HessianForm::kDense, 10)), "form");
  EXPECT_EQ(field(Options(HessianForm::kRowSpace, 0)), "count");
  EXPECT_EQ(field(Options(HessianForm::kSketch, -1)), "count");
  EXPECT_EQ(field(Options(HessianForm::kSketch, 10, 0)), "sketch_rows");
  EXPECT_EQ(field(Options(HessianForm::kSketch, 10), 0), "dimension");
  EXPECT_EQ(field(Options(HessianForm::kSketch, 10), int64_t{1} << 40), "dimension");  // memory
  EXPECT_EQ(ErrorReason(ParseHessianForm("wide").status()), "FORM_UNKNOWN");
  EXPECT_EQ(*ParseHessianForm("row_space"), HessianForm::kRowSpace);

  std::mt19937_64 generator(5);
  for (const HessianForm form : {HessianForm::kRowSpace, HessianForm::kSketch}) {
    absl::StatusOr<FactoredHessianEstimator> estimator = FactoredHessianEstimator::Create(5, Options(form, 10));
    EXPECT_EQ(ErrorReason(estimator->Add(StandardNormal(generator, 2, 4))), "DIMENSION_MISMATCH");
    RowMajorMatrix broken = StandardNormal(generator, 2, 5);
    broken(1, 2) = std::numeric_limits<double>::infinity();
    EXPECT_EQ(ErrorReason(estimator->Add(broken)), "NOT_FINITE");
    ASSERT_TRUE(estimator->Add(StandardNormal(generator, 1, 5)).ok());
    EXPECT_EQ(ErrorReason(estimator->TakeEstimate(generator, 0.9).status()), "TOO_FEW_GRADIENTS");
    ASSERT_TRUE(estimator->Add(StandardNormal(generator, 9, 5)).ok());
    EXPECT_EQ(ErrorReason(estimator->TakeEstimate(generator, 0.4).status()), "LEVEL_OUT_OF_RANGE");
    EXPECT_EQ(estimator->Add(StandardNormal(generator, 1, 5)).ok(), form == HessianForm::kSketch);
  }
}

// Catches: 0/0 for gradients that are all the same.
TEST(FactoredHessian, ConstantGradientsGiveAnEmptyFactor) {
  for (const HessianForm form : {HessianForm::kRowSpace, HessianForm::kSketch}) {
    const HessianEstimate factored = Estimated(RowMajorMatrix::Constant(40, 6, 2), Options(form, 40));
    EXPECT_EQ(factored.factor.rows(), 0) << HessianFormName(form);
    EXPECT_EQ(factored.trace, 0);
    EXPECT_FALSE(factored.relative_error.upper.has_value());
  }
}

}  // namespace
}  // namespace gradoracle
