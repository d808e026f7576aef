#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "Eigen/QR"
#include "core/accountant/curvature_accountant.h"
#include "core/accountant/label_privacy.h"
#include "core/accountant/noise_norms.h"
#include "core/accountant/rdp_accountant.h"
#include "core/error_norm.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

// Anchors of theory 6b: tensorflow/privacy's own tests, and dp_accounting's epsilons.
TEST(RdpAccountantTest, Anchors) {
  EXPECT_NEAR(10 * RenyiDivergence({.1, 2}, 5), .07737, 5e-6);
  EXPECT_NEAR(50 * RenyiDivergence({.01, 2.5}, 5), .00218075, 1e-8);
  EXPECT_NEAR(50 * RenyiDivergence({.01, 2.5}, 50), .023846, 5e-7);
  EXPECT_NEAR(50 * RenyiDivergence({.01, 2.5}, 100), 167.4163, 5e-5);
  EXPECT_DOUBLE_EQ(RenyiDivergence({1, 4}, 8), 8.0 / 32);
  const auto epsilon = [](double rate, double multiplier, int64_t steps) {
    return SampledGaussianEpsilon({rate, multiplier}, steps, 1e-5).value();
  };
  EXPECT_NEAR(epsilon(.01, 1, 1000), 2.108, 6e-4);
  EXPECT_NEAR(epsilon(.01, 1, 10'000), 6.719, 6e-4);
  EXPECT_NEAR(epsilon(.001, 1, 10'000), .788, 6e-4);
  EXPECT_NEAR(epsilon(.01, 4, 10'000), 1.036, 6e-4);
  EXPECT_NEAR(epsilon(1, 50, 1000), 2.814, 6e-4);
  EXPECT_EQ(epsilon(.01, 1, 0), 0);
}

TEST(RdpAccountantTest, RefusesWhatHasNoMeaning) {
  const auto reason = [](double rate, double multiplier, int64_t steps, double delta) {
    return ErrorReason(SampledGaussianEpsilon({rate, multiplier}, steps, delta).status()).value_or("");
  };
  EXPECT_EQ(reason(0, 1, 1, .1), "PRIVACY_PARAMETER");
  EXPECT_EQ(reason(1.1, 1, 1, .1), "PRIVACY_PARAMETER");
  EXPECT_EQ(reason(.5, 0, 1, .1), "PRIVACY_PARAMETER");
  EXPECT_EQ(reason(.5, 1, -1, .1), "PRIVACY_PARAMETER");
  EXPECT_EQ(reason(.5, 1, 1, 0), "PRIVACY_PARAMETER");
  EXPECT_EQ(reason(.5, 1, 1, std::nan("")), "PRIVACY_PARAMETER");
}

// theory 6a.2: labels in [0, 1], delta 1e-5, tau_inj^2 = n, so that m n / N uses cost rho = m / (2N).
TEST(LabelPrivacyTest, Anchors) {
  const auto account = [](double rows, double count) {
    return AccountLabels(1, 100, count * 100 / rows, 1e-5).value();
  };
  EXPECT_NEAR(account(1e5, 1e3).epsilon, .341, 6e-4);
  EXPECT_NEAR(account(1e5, 1e3).zcdp_epsilon, .485, 6e-4);
  EXPECT_NEAR(account(1e5, 1e4).epsilon, 1.20, 6e-3);
  EXPECT_NEAR(account(1e5, 1e4).zcdp_epsilon, 1.57, 6e-3);
  EXPECT_NEAR(account(1e4, 1e4).epsilon, 4.38, 6e-3);
  EXPECT_NEAR(account(1e4, 1e4).zcdp_epsilon, 5.30, 6e-3);
  // Uncapped: in every one of 1e4 batches.
  EXPECT_NEAR(AccountLabels(1, 100, 1e4, 1e-5)->epsilon, 91.8, 6e-2);
  EXPECT_EQ(AccountLabels(1, 100, 0, 1e-5)->epsilon, 0);
}

// Catches: tails that underflow, where epsilon would be infinite, zero or above the simple bound.
TEST(LabelPrivacyTest, LargeRhoStaysBelowTheSimpleBound) {
  double before = 0;
  for (const double rho : {1e-8, .1, 10., 1e3, 1e5, 1e7}) {
    const double epsilon = GaussianEpsilonOfRho(rho, 1e-5);
    EXPECT_GE(epsilon, before);
    EXPECT_LE(epsilon, EpsilonOfRho(rho, 1e-5));
    EXPECT_GT(epsilon, rho > 1 ? rho : -1);
    before = epsilon;
  }
}

// Catches: an epsilon printed where scale, noise or rounding has looked at the labels.
TEST(LabelPrivacyTest, RefusedWhereTheScaleLooksAtTheLabels) {
  OracleInfo info;
  info.scaling = "raw";
  info.noise.rule = NoiseRule::kFixed;
  info.noise.injected_variance = 2;
  info.sampling = Sampling::kWithoutReplacement;
  EXPECT_TRUE(CheckLabelPrivacy(info, true).ok());
  EXPECT_EQ(ErrorReason(CheckLabelPrivacy(info, false)), "LABEL_PRIVACY_INVALID") << "the default reply grid";
  const auto refused = [&](auto change) {
    OracleInfo changed = info;
    change(changed);
    return ErrorReason(CheckLabelPrivacy(changed, true)).value_or("");
  };
  EXPECT_EQ(refused([](OracleInfo& i) { i.scaling = "standardised"; }), "LABEL_PRIVACY_INVALID");
  EXPECT_EQ(refused([](OracleInfo& i) { i.noise.rule = NoiseRule::kCalibrated; }), "LABEL_PRIVACY_INVALID");
  EXPECT_EQ(refused([](OracleInfo& i) { i.noise.rule = NoiseRule::kNone; }), "LABEL_PRIVACY_INVALID");
  EXPECT_EQ(refused([](OracleInfo& i) { i.noise.injected_variance = 0; }), "LABEL_PRIVACY_INVALID");
  EXPECT_EQ(refused([](OracleInfo& i) { i.noise.extra_variances = {5}; }), "LABEL_PRIVACY_INVALID");
  EXPECT_EQ(refused([](OracleInfo& i) { i.noise.isotropic = true; }), "LABEL_PRIVACY_INVALID");
  EXPECT_EQ(refused([](OracleInfo& i) { i.sampling = Sampling::kIid; }), "LABEL_PRIVACY_INVALID");
}

// White spectra have closed forms: 2 sqrt(d) and sqrt(2d), less the edge's order d^(-1/6).
TEST(NoiseNormsTest, ClosedFormsOfTheIdentity) {
  const Eigen::VectorXd ones = Eigen::VectorXd::Ones(100);
  EXPECT_NEAR(CovarianceNoiseNorm(ones).mean, 2 * std::sqrt(100.0), .08 * 20);
  EXPECT_NEAR(SlopeNoiseNorm(ones).mean, std::sqrt(200.0), .08 * std::sqrt(200.0));
  EXPECT_NEAR(CovarianceNoiseNorm(3 * ones).mean, 3 * CovarianceNoiseNorm(ones).mean, 1e-9);
  EXPECT_NEAR(SlopeNoiseNorm(9 * ones).mean, 3 * SlopeNoiseNorm(ones).mean, 1e-9);
  // One dimension: |N(0, 2)| has mean sqrt(4 / pi) = 1.13; 24 draws of deviation .85. 6 standard errors.
  EXPECT_NEAR(CovarianceNoiseNorm(Eigen::VectorXd::Ones(1)).mean, 1.13, 6 * .85 / std::sqrt(24.0));
}

OracleInfo Info(double dimension, int64_t batch_size, double radius) {
  OracleInfo info;
  info.dimension = static_cast<int64_t>(dimension);
  info.row_count = 1'000'000'000;
  info.scaling = "raw";
  info.limits.min_batch_size = batch_size;
  info.limits.max_batch_size = batch_size;
  info.limits.max_weights_norm = radius;
  return info;
}

double Predicted(const OracleInfo& info, const CurvatureProfile& profile, const std::string& attack, int64_t count,
                 const DefencePolicy& defence = {}) {
  for (const LeakagePrediction& p : PredictLeakage(info, defence, profile, info.limits.min_batch_size, count)) {
    if (p.attack == attack) return p.relative_error;
  }
  return NAN;
}

CurvatureProfile Profile(const Eigen::VectorXd& eigenvalues) {
  CurvatureProfile profile;
  profile.hessian = eigenvalues.asDiagonal();
  return profile;
}

// Simulated errors of theory 2 (Gaussian gradients, d = 100) and 3.6 (identity, d = 30, tau^2 = n, m = 600).
// Catches: a factor 2 or sqrt 2 in either law, n or R in the wrong place.
TEST(CurvatureAccountantTest, ReproducesTheSimulatedTables) {
  Eigen::VectorXd decaying(100);
  for (Eigen::Index j = 0; j < 100; ++j) decaying(j) = 1 / (1.0 + static_cast<double>(j));
  Eigen::VectorXd spikes = Eigen::VectorXd::Ones(100);
  spikes.head(5) << 20, 16.25, 12.5, 8.75, 5;
  const OracleInfo large = Info(100, 1'000'000, 100);
  const auto expect_near = [&](const Eigen::VectorXd& spectrum, int64_t count, double simulated) {
    EXPECT_NEAR(Predicted(large, Profile(spectrum), "covariance", count), simulated, .15 * simulated) << count;
  };
  expect_near(Eigen::VectorXd::Ones(100), 1000, .711);
  expect_near(Eigen::VectorXd::Ones(100), 5000, .291);
  expect_near(decaying, 1000, .086);
  expect_near(decaying, 5000, .037);
  expect_near(spikes, 1000, .119);
  expect_near(spikes, 5000, .050);
  const Eigen::VectorXd thirty = Eigen::VectorXd::Ones(30);
  EXPECT_NEAR(Predicted(Info(30, 5, 3), Profile(thirty), "active", 600), .974, .1 * .974);
  EXPECT_NEAR(Predicted(Info(30, 60, 3), Profile(thirty), "active", 600), .605, .1 * .605);
  EXPECT_NEAR(Predicted(Info(30, 60, 30), Profile(thirty), "active", 600), .238, .1 * .238);
  EXPECT_NEAR(Predicted(Info(30, 600, 1000), Profile(thirty), "active", 600), .073, .1 * .073);
  EXPECT_NEAR(Predicted(Info(30, 60, 30), Profile(thirty), "combined", 600), .213, .1 * .213);
  EXPECT_TRUE(std::isnan(Predicted(Info(30, 60, 30), Profile(thirty), "active", 30))) << "fewer points than directions";
}

// theory 6c.2: under a mask slopes err by d sqrt(2 lambda / m) / R, and 6b: subtracting it by 2 sqrt(d/m)(lambda/s +
// 1).
TEST(CurvatureAccountantTest, TheMaskFollowsItsFormulas) {
  CurvatureProfile profile = Profile(Eigen::VectorXd::Ones(50));
  profile.residual_variance = 1;
  OracleInfo info = Info(50, 1'000'000, 2);
  info.noise.rule = NoiseRule::kNone;
  info.noise.isotropic = true;
  DefencePolicy mask;
  mask.mask_variance = .04;
  const double slopes = 50 * std::sqrt(2 * .04 / 1e5) / 2;
  EXPECT_NEAR(Predicted(info, profile, "active", 100'000, mask), slopes, .1 * slopes);
  const double share = (1 + 4) / 1e6;  // far from the optimum: (sigma^2 + R^2) / n
  const double passive = 2 * std::sqrt(50 / 1e9) * (.04 / share + 1);
  EXPECT_NEAR(Predicted(info, profile, "covariance", 1'000'000'000, mask), passive, .1 * passive);
  EXPECT_TRUE(std::isnan(Predicted(info, profile, "unit_diagonal", 100'000, mask)));
}

// Catches: residuals counted as noise of slopes although whole epochs average them away: with no noise at all, slopes
// over whole epochs are exact.
TEST(CurvatureAccountantTest, WholeEpochsHideNothing) {
  CurvatureProfile profile = Profile(Eigen::VectorXd::Ones(10));
  profile.residual_variance = 4;
  OracleInfo info = Info(10, 64, 3);
  info.noise.rule = NoiseRule::kNone;
  EXPECT_GT(Predicted(info, profile, "active", 1000), 0);
  info.sampling = Sampling::kShuffledEpochs;
  EXPECT_EQ(Predicted(info, profile, "active", 1000), 0);
  EXPECT_EQ(CurvatureAccountant(info, {}, profile).LargestCount(.5).value(), 10) << "fewer points than directions";
  info.noise.rule = NoiseRule::kFixed;
  info.noise.injected_variance = 64;
  CurvatureProfile noiseless = profile;
  noiseless.residual_variance = 0;
  EXPECT_NEAR(Predicted(info, profile, "active", 1000), Predicted(info, noiseless, "active", 1000), 1e-12);
}

// Catches: limits of the batch size looked at alone, although watching under clipping is best in between.
TEST(CurvatureAccountantTest, ClippingIsWorstInTheMiddle) {
  CurvatureProfile profile = Profile(Eigen::VectorXd::Ones(10));
  profile.residual_variance = 1;
  OracleInfo info = Info(10, 1, .001);  // slopes tell next to nothing
  info.row_count = 1000;
  info.sampling = Sampling::kPoisson;
  info.noise.rule = NoiseRule::kNone;
  info.noise.isotropic = true;
  DefencePolicy clipping;
  clipping.clip_norm = 100;
  clipping.gradient_noise_multiplier = 1;
  info.limits.max_batch_size = 1000;
  info.limits.min_batch_size = 990;
  const double ends = CurvatureAccountant(info, clipping, profile).Strongest(1'000'000).lower;
  info.limits.min_batch_size = 1;
  EXPECT_LT(CurvatureAccountant(info, clipping, profile).Strongest(1'000'000).lower, ends / 2);
  double least = HUGE_VAL;
  for (const LeakagePrediction& p : PredictLeakage(info, clipping, profile, 500, 1'000'000)) {
    least = std::min(least, p.lower);
  }
  EXPECT_EQ(CurvatureAccountant(info, clipping, profile).Strongest(1'000'000).lower, least);
}

// Catches: an inverse off by one, a floor that grows with the error asked, an error from nothing to refuse.
TEST(CurvatureAccountantTest, TheLargestCountIsTheInverse) {
  Eigen::VectorXd spectrum(20);
  for (Eigen::Index j = 0; j < 20; ++j) spectrum(j) = 1 / (1.0 + static_cast<double>(j));
  OracleInfo info = Info(20, 64, 100);
  info.limits.max_batch_size = 4096;
  const CurvatureAccountant accountant(info, {}, Profile(spectrum));
  int64_t before = int64_t{1} << 53;
  for (const double error : {.01, .05, .2, .5}) {
    const int64_t count = accountant.LargestCount(error).value();
    EXPECT_GE(accountant.Strongest(count).lower, error);
    EXPECT_LT(accountant.Strongest(count + 1).lower, error);
    EXPECT_LE(count, before);
    before = count;
    EXPECT_FALSE(accountant.Strongest(count).assumptions.empty());
  }
  for (const double bad : {0.0, 1.0, -1.0, std::nan("")}) {
    EXPECT_EQ(ErrorReason(accountant.LargestCount(bad).status()), "CURVATURE_FLOOR_INVALID");
  }
}

// --- Against attacks run on real data ---

std::unique_ptr<LocalOracle> House(OracleOptions options) {
  options.data_path = std::string(GRADORACLE_SOURCE_DIR) + "/examples/data/lucas_house.csv.gz";
  absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::Create(options);
  EXPECT_TRUE(oracle.ok()) << oracle.status();
  return *std::move(oracle);
}

struct Attacker {
  explicit Attacker(const LocalOracle* target) : oracle(target), source(target, [this]() { return NextKey(); }) {}
  absl::StatusOr<RequestKey> NextKey() {
    RequestKey key{};
    key[0] = ++keys;
    key[1] = keys >> 8;
    return key;
  }
  RowMajorMatrix Ask(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count) {
    GradientQuery query;
    query.weights = weights;
    query.batch_size = batch_size;
    query.count = count;
    RowMajorMatrix answers(count, weights.size());
    int64_t filled = 0;
    const absl::Status status = source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
      answers.middleRows(filled, block.rows()) = block;
      filled += block.rows();
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return answers;
  }
  double CovarianceError(int64_t batch_size, int64_t count) {
    const RowMajorMatrix answers = Ask(oracle->fit().weights, batch_size, count);
    const RowMajorMatrix centred = answers.rowwise() - answers.colwise().mean();
    return *RelativeError(centred.transpose() * centred / static_cast<double>(count - 1), oracle->fit().hessian);
  }
  // Slopes between +-R u_j of a random frame.
  double SlopeError(int64_t batch_size, int64_t count) {
    const int64_t dimension = oracle->info().dimension;
    const double radius = oracle->info().limits.max_weights_norm;
    const int64_t each = count / (2 * dimension);
    std::mt19937_64 generator(5);
    std::normal_distribution<double> normal;
    const Eigen::MatrixXd random =
        Eigen::MatrixXd::NullaryExpr(dimension, dimension, [&]() { return normal(generator); });
    const Eigen::MatrixXd frame = Eigen::HouseholderQR<Eigen::MatrixXd>(random).householderQ();
    Eigen::MatrixXd slopes(dimension, dimension);
    for (int64_t j = 0; j < dimension; ++j) {
      const Eigen::VectorXd point = radius * frame.col(j);
      slopes.col(j) = (Ask(point, batch_size, each).colwise().mean() - Ask(-point, batch_size, each).colwise().mean()) /
                      (2 * radius);
    }
    slopes *= frame.transpose();
    return *RelativeError((slopes + slopes.transpose()) / 2, oracle->fit().hessian);
  }

  const LocalOracle* oracle;
  LocalGradientSource source;
  uint16_t keys = 0;
};

LeakagePrediction PredictionOf(const LocalOracle& oracle, const std::string& attack, int64_t batch_size,
                               int64_t count) {
  for (LeakagePrediction& p : PredictLeakage(oracle.info(), oracle.defence(), ProfileOf(oracle), batch_size, count)) {
    if (p.attack == attack) return p;
  }
  ADD_FAILURE() << attack;
  return {};
}

// Seeds are fixed: each comparison has one outcome. Catches predictions that hold for formulas and not for data.
TEST(CurvatureAccountantTest, RealAttacksFallIntoTheirIntervals) {
  const auto calibrated = House({});
  Attacker attacker(calibrated.get());
  for (const int64_t count : {200, 2000}) {
    const LeakagePrediction covariance = PredictionOf(*calibrated, "covariance", 256, count);
    const double error = attacker.CovarianceError(256, count);
    EXPECT_GE(error, covariance.lower) << count;
    EXPECT_LE(error, covariance.upper) << count;
  }
  OracleOptions narrow;
  narrow.max_weights_norm = 4;
  const auto held = House(narrow);
  const LeakagePrediction active = PredictionOf(*held, "active", 256, 62 * 64);
  const double error = Attacker(held.get()).SlopeError(256, 62 * 64);
  EXPECT_GE(error, active.lower);
  EXPECT_LE(error, active.upper);
}

// The mask does to the passive attack what is claimed, and to the active one no more than is claimed.
TEST(CurvatureAccountantTest, TheMaskOnRealData) {
  OracleOptions options;
  options.max_weights_norm = 4;
  options.mask_budget = 62 * 64;
  options.mask_error = .3;
  const auto masked = House(options);
  Attacker attacker(masked.get());
  EXPECT_GT(attacker.CovarianceError(256, 2000), 1) << "worse than no estimate";
  const LeakagePrediction active = PredictionOf(*masked, "active", 256, 62 * 64);
  const double error = attacker.SlopeError(256, 62 * 64);
  EXPECT_GE(error, active.lower);
  EXPECT_LE(error, active.upper);
  EXPECT_GT(error, .8 * .3) << "the error the mask was made for, less what one run varies";
  EXPECT_LT(error, 3) << "it is not hidden from slopes, and nobody says so";
}

}  // namespace
}  // namespace gradoracle
