// Attacks against closed forms and planted leaks.
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "Eigen/QR"
#include "client/audit/attack.h"
#include "client/audit/attack_task.h"
#include "client/audit/batch_recovery.h"
#include "client/audit/claiming_source.h"
#include "client/audit/differencing.h"
#include "client/audit/findings.h"
#include "client/audit/miscalibration.h"
#include "client/audit/statistics.h"
#include "client/audit/support_leak.h"
#include "core/error_norm.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/audit/planted_data.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Eigen::VectorXd RandomVector(int64_t size, std::mt19937_64& generator) {
  std::normal_distribution<double> normal;
  return Eigen::VectorXd::NullaryExpr(size, [&](Eigen::Index) { return normal(generator); });
}

AttackSetting SettingOf(const LocalOracle& oracle, int64_t batch_size) {
  AttackSetting setting;
  setting.batch_size = batch_size;
  setting.believed_noise_variance = static_cast<double>(batch_size);
  setting.published_weights = oracle.fit().weights;
  return setting;
}

// Error at each budget, empty where the attack was silent.
std::map<int64_t, double> Errors(const char* name, const LocalOracle& oracle, const std::vector<int64_t>& budgets,
                                 int64_t batch_size = 64) {
  LocalGradientSource source(&oracle, SeededKeys(name));
  std::mt19937_64 generator(3);
  std::map<int64_t, double> errors;
  const Attack* attack = FindAttack(name);
  EXPECT_NE(attack, nullptr) << name;
  const absl::Status status = attack->run(
      source, SettingOf(oracle, batch_size), budgets, generator, [&](size_t index, const Recovery& recovery) {
        EXPECT_LE(recovery.gradients, budgets[index]) << name;
        errors[budgets[index]] = RelativeError(recovery.hessian, oracle.fit().hessian).value();
      });
  EXPECT_TRUE(status.ok()) << status;
  return errors;
}

// Theory 1.2a with delta = 1e-6, and 5 % for batches of 64 (kurtosis) and rows' residuals that are not Gaussian.
double Bound(int64_t dimension, int64_t count) {
  const double m = static_cast<double>(count);
  const double eta = std::sqrt(static_cast<double>(dimension) / m) + std::sqrt(2 * std::log(2e6) / m);
  return 1.1 * (2 * eta + eta * eta) + 0.05;
}

// Catches a wrong scale of the covariance, a wrong noise level or weights, a budget overdrawn.
TEST(Attacks, EveryAttackComesWithinTheBoundOfTheory) {
  OracleOptions policy;
  policy.curvature_probe = true;
  policy.extra_noise_variances = {64 * 1000.0};
  const auto oracle = MakeOracle(DenseData(400, 4), policy);
  for (const Attack& attack : CurvatureAttacks()) {
    if (attack.name == "two_level" || attack.name == "corrected") continue;  // larger variance than a covariance's
    const std::map<int64_t, double> errors = Errors(attack.name.c_str(), *oracle, {10, 4000});
    ASSERT_TRUE(errors.contains(4000)) << attack.name;
    EXPECT_LT(errors.at(4000), Bound(4, 4000)) << attack.name;
  }
  EXPECT_LT(Errors("two_level", *oracle, {8000}).at(8000), 2 * Bound(4, 4000));
  EXPECT_LT(Errors("corrected", *oracle, {8000}).at(8000), 2 * Bound(4, 4000));
}

// Catches snapshots taken a block too early or too late.
TEST(Attacks, ACovarianceAtABudgetIsThatOfItsFirstGradients) {
  const auto oracle = MakeOracle(DenseData(200, 3), OracleOptions());
  const std::map<int64_t, double> together = Errors("covariance", *oracle, {10, 333, 1000});
  EXPECT_EQ(together.size(), 3u);
  // The law of a request does not depend on its count, but for the rounding of sums.
  EXPECT_NEAR(together.at(333), Errors("covariance", *oracle, {333}).at(333), 1e-9);
}

TEST(Attacks, TooSmallBudgetsAreSilence) {
  const auto oracle = MakeOracle(DenseData(200, 5), OracleOptions());
  EXPECT_THAT(Errors("active", *oracle, {10}), IsEmpty());
  EXPECT_THAT(Errors("averaging", *oracle, {5}), IsEmpty());
  EXPECT_EQ(Errors("averaging", *oracle, {6}).size(), 1u);
}

TEST(Attacks, ThePolicyDecidesWhatIsAvailable) {
  const auto oracle = MakeOracle(DenseData(200, 3), OracleOptions());
  AttackSetting setting = SettingOf(*oracle, 64);
  OracleInfo info = oracle->info();
  EXPECT_FALSE(FindAttack("probe")->available(info, setting).ok());
  EXPECT_FALSE(FindAttack("two_level")->available(info, setting).ok());
  info.noise.curvature_probe = true;
  info.noise.extra_variances = {1000};
  EXPECT_TRUE(FindAttack("probe")->available(info, setting).ok());
  EXPECT_TRUE(FindAttack("two_level")->available(info, setting).ok());
  EXPECT_TRUE(FindAttack("covariance_at_model")->available(info, setting).ok());
  info.limits.max_weights_norm = setting.published_weights.norm() / 2;
  EXPECT_FALSE(FindAttack("covariance_at_model")->available(info, setting).ok());
  EXPECT_EQ(FindAttack("nothing"), nullptr);
}

// Without noise d + 1 points are exact (theory 3.3).
TEST(Averaging, SolvesForHessianAndWeights) {
  std::mt19937_64 generator(1);
  const Eigen::MatrixXd root = Eigen::MatrixXd::NullaryExpr(5, 5, [&]() { return RandomVector(1, generator)[0]; });
  const Eigen::MatrixXd hessian = root * root.transpose();
  const Eigen::VectorXd weights = RandomVector(5, generator);
  const Eigen::MatrixXd frame = Eigen::HouseholderQR<Eigen::MatrixXd>(root).householderQ();
  RowMajorMatrix means(6, 5);
  means.row(0) = (-hessian * weights).transpose();
  for (int j = 0; j < 5; ++j) means.row(j + 1) = (hessian * (3 * frame.col(j) - weights)).transpose();
  const Recovery recovery = SolveAveraging(means, frame, 3);
  EXPECT_LT((recovery.hessian - hessian).norm(), 1e-10 * hessian.norm());
  EXPECT_LT((*recovery.weights - weights).norm(), 1e-8 * weights.norm());
}

TEST(AttackTask, RefinementsAndOverlaps) {
  Recovery recovery;
  recovery.gradients = 100;
  recovery.hessian = Eigen::Vector3d(4, 1, 9).asDiagonal();
  EXPECT_TRUE(Refine(Refinement::kUnitDiagonal, recovery, true).isIdentity(1e-15));
  EXPECT_TRUE(Refine(Refinement::kNone, recovery, true).isApprox(recovery.hessian));
  // Shrinking keeps the trace and pulls eigenvalues together.
  const Eigen::MatrixXd shrunk = Refine(Refinement::kShrunk, recovery, false);
  EXPECT_NEAR(shrunk.trace(), 14, 1e-12);
  EXPECT_LT(shrunk(2, 2), 9);
  const Eigen::MatrixXd turned = Eigen::Vector3d(9, 4, 1).asDiagonal();
  // Truth's order of axes: 2, 0, 1; the estimate's: 0, 1, 2.
  EXPECT_THAT(SubspaceOverlaps(recovery.hessian, turned), ElementsAre(0, 0.5, 1));
}

// --- Rows and batches ---

// At n = 1 a gradient is parallel to a row whatever the noise; grids of replies are 1e-6 of a deviation.
TEST(RowReconstruction, FindsRowsAtBatchSizeOneOnly) {
  OracleOptions policy;
  policy.min_batch_size = 1;
  const auto oracle = MakeOracle(DenseData(300, 6), policy);
  LocalGradientSource source(oracle.get(), SeededKeys("rows"));
  const nlohmann::json finding = FindRowReconstruction(source, 64, &oracle->data()).value();
  EXPECT_EQ(finding["found"], true) << finding;
  EXPECT_GT(finding["evidence"]["rows_found"].get<int>(), 40);  // of 64 draws from 300: 58 different ones expected
  const auto guarded = MakeOracle(DenseData(300, 6), OracleOptions());
  LocalGradientSource safe(guarded.get(), SeededKeys("rows"));
  EXPECT_EQ(FindRowReconstruction(safe, 64, &guarded->data()).value()["found"], false);
}

// Catches: rows said to be readable through a mask that nobody has looked behind.
TEST(RowReconstruction, IsNotClaimedBehindAMaskWithoutTheRows) {
  OracleOptions policy;
  policy.min_batch_size = 1;
  policy.noise.rule = NoiseRule::kNone;
  policy.defence.mask_variance = 100;
  const auto oracle = MakeOracle(DenseData(300, 6), policy);
  LocalGradientSource source(oracle.get(), SeededKeys("rows"));
  EXPECT_EQ(FindRowReconstruction(source, 64, nullptr).value()["found"], nullptr);
  EXPECT_EQ(FindRowReconstruction(source, 64, &oracle->data()).value()["found"], false);
}

// Theory 6a.3: 8 of 8 members of 300 from one gradient in 40 dimensions.
TEST(BatchRecovery, FindsTheMembersOfABatch) {
  std::mt19937_64 generator(5);
  const RowMajorMatrix rows = DenseData(300, 40).features;
  const std::set<int64_t> members = {3, 17, 51, 90, 144, 200, 231, 299};
  Eigen::VectorXd gradient = Eigen::VectorXd::Zero(40);
  for (const int64_t member : members) {
    gradient += RandomVector(1, generator)[0] * rows.row(member).transpose();
  }
  const RecoveredBatch batch = RecoverBatch(rows, gradient, 8);
  EXPECT_TRUE(batch.exact) << batch.residual;
  EXPECT_EQ(std::set<int64_t>(batch.rows.begin(), batch.rows.end()), members);
}

TEST(BatchRecovery, SaysNothingOfWhatIsNotInTheSpan) {
  std::mt19937_64 generator(6);
  const RowMajorMatrix rows = DenseData(300, 40).features;
  EXPECT_FALSE(RecoverBatch(rows, RandomVector(40, generator), 8).exact);
  EXPECT_FALSE(RecoverBatch(rows, Eigen::VectorXd::Zero(40), 8).exact);
}

TEST(BatchRecovery, ReadsBatchesOffAnOracle) {
  OracleOptions policy;
  policy.min_batch_size = 6;
  policy.noise.rule = NoiseRule::kCalibrated;
  const auto oracle = MakeOracle(DenseData(200, 40), policy);
  LocalGradientSource source(oracle.get(), SeededKeys("batches"));
  const nlohmann::json finding = FindBatchRecovery(source, 4, &oracle->data()).value();
  EXPECT_EQ(finding["found"], true) << finding;
  const auto guarded = MakeOracle(DenseData(200, 20), OracleOptions());  // 32 rows in 20 dimensions
  LocalGradientSource safe(guarded.get(), SeededKeys("batches"));
  EXPECT_EQ(FindBatchRecovery(safe, 4, &guarded->data()).value()["found"], false);
}

// --- Support leak ---

nlohmann::json SupportFinding(const RegressionData& data, bool standardise) {
  OracleOptions policy;
  policy.standardise = standardise;
  const auto oracle = MakeOracle(data, policy);
  LocalGradientSource source(oracle.get(), SeededKeys("support"));
  std::mt19937_64 generator(7);
  return FindSupportLeakIn(source, 2000, &oracle->data(), generator).value();
}

TEST(SupportLeak, FlagsOneHotInRawUnitsByZeros) {
  const nlohmann::json finding = SupportFinding(OneHotData(2000, 3, 60), false);
  EXPECT_EQ(finding["found"], true);
  // P(no row of 32 has one of 61 categories) = (60/61)^32 = 0.59, for 60 of 63 coordinates.
  EXPECT_NEAR(finding["evidence"]["zero_share"].get<double>(), 0.56, 0.03);
  EXPECT_GT(finding["evidence"]["readable_residuals"].get<double>(), 0.3);
}

TEST(SupportLeak, FlagsOneHotInStandardisedUnitsByRatios) {
  const nlohmann::json finding = SupportFinding(OneHotData(2000, 3, 60), true);
  EXPECT_EQ(finding["found"], true);
  EXPECT_EQ(finding["evidence"]["zero_share"], 0);
  const auto features = finding["evidence"]["features"].get<std::vector<int64_t>>();
  EXPECT_EQ(features.size(), 60u);
  EXPECT_EQ(features.front(), 3) << "a dense feature was taken for a category";
  EXPECT_NEAR(finding["evidence"]["repeated_ratio_share"].get<double>(), 0.4, 0.15);  // 0.59^2, the best of pairs
}

TEST(SupportLeak, DoesNotFlagDenseData) {
  RegressionData data = DenseData(1000, 8);
  EXPECT_EQ(SupportFinding(data, true)["found"], false);
  EXPECT_EQ(SupportFinding(data, false)["found"], false);
  // Nor a coin, whole years, and a column that repeats another: all ratios repeat there, which tells of no category.
  data.features.col(5) = (data.features.col(5).array() > 0).cast<double>();
  data.features.col(6) = (40 + 10 * data.features.col(6).array()).round();
  data.features.col(7) = 2 * data.features.col(6);
  EXPECT_EQ(SupportFinding(data, true)["found"], false) << SupportFinding(data, true);
}

// --- The noise's scale ---

nlohmann::json ScaleFinding(const NoisePolicy& noise, Sampling sampling = Sampling::kIid) {
  OracleOptions policy;
  policy.noise = noise;
  policy.sampling = sampling;
  const auto oracle = MakeOracle(OneHotData(1500, 4, 6), policy);
  LocalGradientSource source(oracle.get(), SeededKeys("scale"));
  return FindMiscalibration(source, 64, 20'000, &oracle->data(), &oracle->fit().hessian,
                            oracle->fit().residual_variance)
      .value();
}

TEST(Miscalibration, TellsTenPercentAndNoNoise) {
  for (const double scale : {0.9, 1.1}) {
    const nlohmann::json finding = ScaleFinding({NoiseRule::kScaled, scale, 0});
    EXPECT_EQ(finding["found"], true) << finding;
    const nlohmann::json& evidence = finding["evidence"];
    EXPECT_NEAR(evidence["total_noise_variance_over_n"].get<double>(), scale,
                7 * evidence["standard_error"].get<double>());
  }
  const nlohmann::json none = ScaleFinding({NoiseRule::kNone, 1, 0});
  EXPECT_EQ(none["found"], true) << none;
  EXPECT_LT(none["evidence"]["total_noise_variance_over_n"].get<double>(), 0.1);
}

// False alarm below 1e-6 a run; catches the residuals' part left out or counted twice (1/64 of the noise, 5 standard
// errors: with_replacement and without differ by it), a forgotten sampling factor.
TEST(Miscalibration, CalibratedNoiseIsLeftAlone) {
  for (const Sampling sampling : {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs}) {
    const nlohmann::json finding = ScaleFinding(NoisePolicy{}, sampling);
    EXPECT_EQ(finding["found"], false) << finding;
    EXPECT_NEAR(finding["evidence"]["total_noise_variance_over_n"].get<double>(), 1,
                5 * finding["evidence"]["standard_error"].get<double>());
    EXPECT_LT(finding["evidence"]["standard_error"].get<double>(), 0.01);
  }
}

// --- Differencing ---

TEST(Differencing, TwoHessiansGiveTheRow) {
  const RegressionData data = DenseData(100, 4);
  const RowMajorMatrix before = data.features.topRows(99);
  const AppendedRow row =
      RowFromHessians(before.transpose() * before / 99.0, data.features.transpose() * data.features / 100.0, 99);
  const Eigen::VectorXd truth = data.features.row(99).transpose();
  EXPECT_NEAR(std::abs(row.direction.dot(truth)) / truth.norm(), 1, 1e-10);
  EXPECT_NEAR(row.norm, truth.norm(), 1e-9);
}

// An appended row of length 40 among 60 stands far above the noise of 20 000 means.
TEST(Differencing, MeanGradientsGiveTheRow) {
  OracleOptions policy;
  policy.standardise = false;
  RegressionData data = DenseData(61, 4);
  const Eigen::Vector4d row(10, -20, 30, 10);
  data.features.row(60) = row.transpose();
  RegressionData smaller = data;
  smaller.features = data.features.topRows(60);
  smaller.targets = data.targets.head(60);
  const auto after = MakeOracle(data, policy);
  const auto before = MakeOracle(smaller, policy);
  LocalGradientSource source_before(before.get(), SeededKeys("before"));
  LocalGradientSource source_after(after.get(), SeededKeys("after"));
  std::mt19937_64 generator(9);
  const AppendedRow found = RowFromGradients(source_before, source_after, 60, 20'000, generator).value();
  EXPECT_LE(found.gradients, 20'000);
  EXPECT_GT(std::abs(found.direction.dot(row)) / row.norm(), 0.99);
  EXPECT_NEAR(found.norm / row.norm(), 1, 0.1);
  EXPECT_EQ(ErrorReason(RowFromGradients(source_before, source_after, 60, 31, generator).status()),
            "TOO_FEW_GRADIENTS");
}

// --- Statistics ---

TEST(Statistics, MediansAndTheirIntervals) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_FALSE(MedianInterval({1, 2, 3, 4, 5}, 0.95).has_value());
  const ErrorInterval six = MedianInterval({6, 1, 5, 2, 4, 3}, 0.95).value();  // 1 - 2/64 = 0.97
  EXPECT_EQ(six.lower, 1);
  EXPECT_EQ(six.upper, 6);
  std::vector<double> twenty;
  for (int k = 1; k <= 20; ++k) twenty.push_back(k);
  const ErrorInterval known = MedianInterval(twenty, 0.95).value();  // tables of order statistics: 6 and 15
  EXPECT_EQ(known.lower, 6);
  EXPECT_EQ(known.upper, 15);
}

TEST(Statistics, TheSmallestMedianWins) {
  std::mt19937_64 generator(1);
  const auto smallest = FindSmallestMedian({{5, 6, 7}, {}, {1, 2, 3, 2, 2, 9}, {4}}, 0.95, generator).value();
  EXPECT_EQ(smallest.index, 2u);
  EXPECT_EQ(smallest.median, 2);
  EXPECT_GE(smallest.interval->lower, 1);
  EXPECT_LE(smallest.interval->upper, 9);
  EXPECT_FALSE(FindSmallestMedian({{5, 6, 7}}, 0.95, generator)->interval.has_value());
  EXPECT_FALSE(FindSmallestMedian({{}, {}}, 0.95, generator).has_value());
}

}  // namespace
}  // namespace gradoracle
