#include "tests/core/gradient_law_checks.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "Eigen/Cholesky"
#include "Eigen/Eigenvalues"
#include "Eigen/QR"
#include "boost/math/distributions/chi_squared.hpp"
#include "boost/math/distributions/fisher_f.hpp"
#include "boost/math/distributions/normal.hpp"
#include "boost/math/distributions/students_t.hpp"

namespace gradoracle {
namespace {

using boost::math::complement;
using boost::math::quantile;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Limit of asymptotic z scores: 2.6e-12 if they were normal, which leaves four orders of magnitude to the 1e-7 or so
// that each may have, for the slowness of the central limit theorem in the tails.
constexpr double kLargestZ = 7;

// A statistic that is not a number fails.
Verdict Judge(double statistic, double lower, double upper) {
  return {lower <= statistic && statistic <= upper, statistic, lower, upper};
}

// Eigen's decompositions and maxima promise nothing about numbers that are not: checked first, in every check.
bool IsFinite(const GradientSample& sample) { return sample.gradients.allFinite(); }
const Verdict kNotFinite = {false, kInfinity, 0, 0};

struct Batch {
  RowMajorMatrix features;   // X_B, (n, d)
  Eigen::VectorXd gradient;  // mu_B
};

Batch BatchOf(const GradientSample& sample, int64_t k) {
  const int64_t n = sample.batch_size;
  Batch batch{RowMajorMatrix(n, sample.data->dimension()), {}};
  Eigen::VectorXd targets(n);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t row = sample.rows[static_cast<size_t>(k * n + i)];
    batch.features.row(i) = sample.data->features.row(row);
    targets[i] = sample.data->targets[row];
  }
  batch.gradient = batch.features.transpose() * (batch.features * sample.weights - targets) / static_cast<double>(n);
  return batch;
}

// M_k for all k.
std::vector<double> Mahalanobis(const GradientSample& sample) {
  std::vector<double> distances;
  const auto n = static_cast<double>(sample.batch_size);
  for (int64_t k = 0; k < sample.gradients.rows(); ++k) {
    const Batch batch = BatchOf(sample, k);
    const Eigen::VectorXd centred = sample.gradients.row(k).transpose() - batch.gradient;
    const Eigen::LLT<Eigen::MatrixXd> gram(batch.features.transpose() * batch.features);
    distances.push_back(n * n / sample.injected_variance * centred.dot(gram.solve(centred)));
  }
  return distances;
}

// xi / tau of all gradients, (m, n).
RowMajorMatrix RecoveredNoise(const GradientSample& sample) {
  RowMajorMatrix noise(sample.gradients.rows(), sample.batch_size);
  const double scale = -static_cast<double>(sample.batch_size) / std::sqrt(sample.injected_variance);
  for (int64_t k = 0; k < noise.rows(); ++k) {
    const Batch batch = BatchOf(sample, k);
    const Eigen::VectorXd centred = sample.gradients.row(k).transpose() - batch.gradient;
    noise.row(k) = scale * batch.features.transpose().colPivHouseholderQr().solve(centred).transpose();
  }
  return noise;
}

// Kolmogorov-Smirnov distance; threshold of Dvoretzky-Kiefer-Wolfowitz with Massart's constant, for any sample size.
Verdict KolmogorovSmirnov(std::vector<double> values, const std::function<double(double)>& cdf, double false_alarm) {
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  double distance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double f = cdf(values[i]);
    distance = std::max({distance, f - static_cast<double>(i) / count, static_cast<double>(i + 1) / count - f});
  }
  return Judge(distance, 0, std::sqrt(std::log(2 / false_alarm) / (2 * count)));
}

struct Moments {
  Eigen::VectorXd mean;
  Eigen::MatrixXd covariance;
};

// Of one gradient over its batch and its noise, by theory 1.4.5 (written out here, not taken from
// core/sampling_law.cc).
Moments PopulationMoments(const GradientSample& sample) {
  const RegressionData& data = *sample.data;
  const auto row_count = static_cast<double>(data.row_count()), n = static_cast<double>(sample.batch_size);
  const Eigen::VectorXd residuals = data.features * sample.weights - data.targets;
  RowMajorMatrix rows = data.features.array().colwise() * residuals.array();
  const Eigen::VectorXd mean = rows.colwise().mean();
  rows.rowwise() -= mean.transpose();
  const double factor = sample.sampling == Sampling::kIid ? 1 : (row_count - n) / (row_count - 1);
  return {mean,
          (sample.injected_variance * data.features.transpose() * data.features + factor * rows.transpose() * rows) /
              (row_count * n)};
}

// Rows u_k = L^-1 (g_k - mu) with LL' = C: mean zero, covariance the identity.
RowMajorMatrix Whitened(const GradientSample& sample) {
  const Moments moments = PopulationMoments(sample);
  const Eigen::LLT<Eigen::MatrixXd> factor(moments.covariance);
  const Eigen::MatrixXd centred = (sample.gradients.rowwise() - moments.mean.transpose()).transpose();
  return factor.matrixL().solve(centred).transpose();
}

// Mean over its standard error, the values being independent with expectation `expected`.
double StudentizedMean(const Eigen::ArrayXd& values, double expected) {
  const double mean = values.mean();
  const auto count = static_cast<double>(values.size());
  return (mean - expected) / std::sqrt((values - mean).square().sum() / (count * (count - 1)));
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  return out << (verdict.holds ? "holds: " : "fails: ") << verdict.statistic << " in [" << verdict.lower << ", "
             << verdict.upper << "]";
}

double DegreesForPower(double relative_error, double false_alarm, double miss) {
  const boost::math::normal normal;
  const double z = quantile(complement(normal, false_alarm / 2)) + quantile(complement(normal, miss));
  return 2 * z * z / (relative_error * relative_error);
}

Verdict CheckMahalanobisSum(const GradientSample& sample, double false_alarm) {
  if (!IsFinite(sample)) return kNotFinite;
  double sum = 0;
  for (const double distance : Mahalanobis(sample)) sum += distance;
  const boost::math::chi_squared law(static_cast<double>(sample.gradients.size()));
  return Judge(sum, quantile(law, false_alarm / 2), quantile(complement(law, false_alarm / 2)));
}

Verdict CheckMahalanobisLaw(const GradientSample& sample, double false_alarm) {
  if (!IsFinite(sample)) return kNotFinite;
  const boost::math::chi_squared law(static_cast<double>(sample.gradients.cols()));
  return KolmogorovSmirnov(
      Mahalanobis(sample), [&](double x) { return cdf(law, std::max(x, 0.0)); }, false_alarm);
}

Verdict CheckNoiseLaw(const GradientSample& sample, double false_alarm) {
  if (!IsFinite(sample)) return kNotFinite;
  const RowMajorMatrix noise = RecoveredNoise(sample);
  return KolmogorovSmirnov(
      std::vector<double>(noise.data(), noise.data() + noise.size()),
      [](double x) { return cdf(boost::math::normal(), x); }, false_alarm);
}

Verdict CheckNoiseOfNeighbours(const GradientSample& sample, double false_alarm) {
  if (!IsFinite(sample)) return kNotFinite;
  const RowMajorMatrix noise = RecoveredNoise(sample);
  double products = 0, even_squares = 0, odd_squares = 0, pairs = 0;
  for (int64_t k = 0; k + 1 < noise.rows(); k += 2) {
    products += noise.row(k).dot(noise.row(k + 1));
    even_squares += noise.row(k).squaredNorm();
    odd_squares += noise.row(k + 1).squaredNorm();
    pairs += static_cast<double>(noise.cols());
  }
  const double correlation = products / std::sqrt(even_squares * odd_squares);
  const double statistic = correlation * std::sqrt((pairs - 1) / std::max(1 - correlation * correlation, 1e-12));
  const double limit = quantile(complement(boost::math::students_t(pairs - 1), false_alarm / 2));
  return Judge(statistic, -limit, limit);
}

Verdict CheckMean(const GradientSample& sample, double false_alarm) {
  if (!IsFinite(sample)) return kNotFinite;
  const auto m = static_cast<double>(sample.gradients.rows()), d = static_cast<double>(sample.gradients.cols());
  const Eigen::VectorXd mean = sample.gradients.colwise().mean();
  const RowMajorMatrix centred = sample.gradients.rowwise() - mean.transpose();
  const Eigen::LLT<Eigen::MatrixXd> covariance(centred.transpose() * centred / (m - 1));
  const Eigen::VectorXd difference = mean - PopulationMoments(sample).mean;
  const double statistic = m * (m - d) / (d * (m - 1)) * difference.dot(covariance.solve(difference));
  return Judge(statistic, 0, quantile(complement(boost::math::fisher_f(d, m - d), false_alarm)));
}

Verdict CheckTrace(const GradientSample& sample) {
  if (!IsFinite(sample)) return kNotFinite;
  const RowMajorMatrix whitened = Whitened(sample);
  const double z = StudentizedMean(whitened.rowwise().squaredNorm().array(), static_cast<double>(whitened.cols()));
  return Judge(z, -kLargestZ, kLargestZ);
}

Verdict CheckOperatorNorm(const GradientSample& sample, double false_alarm) {
  if (!IsFinite(sample)) return kNotFinite;
  const RowMajorMatrix whitened = Whitened(sample);
  const auto m = static_cast<double>(whitened.rows()), d = static_cast<double>(whitened.cols());
  const Eigen::MatrixXd error =
      whitened.transpose() * whitened / m - Eigen::MatrixXd::Identity(whitened.cols(), whitened.cols());
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(error, Eigen::EigenvaluesOnly);
  // Davidson-Szarek (theory 1.2a) holds for Gaussian gradients; a batch of n has excess kurtosis of order 10/n.
  const double effective = m / (1 + 10 / static_cast<double>(sample.batch_size));
  const double eta = std::sqrt(d / effective) + std::sqrt(2 * std::log(2 / false_alarm) / effective);
  return Judge(solver.eigenvalues().cwiseAbs().maxCoeff(), 0, 2 * eta + eta * eta);
}

Verdict CheckOffDiagonals(const GradientSample& sample) {
  if (!IsFinite(sample)) return kNotFinite;
  const RowMajorMatrix whitened = Whitened(sample);
  double largest = 0;
  for (int64_t i = 0; i < whitened.cols(); ++i) {
    for (int64_t j = 0; j < i; ++j) {
      const double z = std::fabs(StudentizedMean(whitened.col(i).array() * whitened.col(j).array(), 0));
      largest = std::max(largest, z);
    }
  }
  return Judge(largest, 0, kLargestZ);
}

Verdict CheckNeighbours(const GradientSample& sample) {
  if (!IsFinite(sample)) return kNotFinite;
  const RowMajorMatrix whitened = Whitened(sample);
  const int64_t m = whitened.rows();
  const Eigen::ArrayXd products =
      (whitened.topRows(m - 1).array() * whitened.bottomRows(m - 1).array()).rowwise().sum();
  // Independent whitened gradients make these uncorrelated with variance exactly d.
  const double z = products.sum() / std::sqrt(static_cast<double>((m - 1) * whitened.cols()));
  return Judge(z, -kLargestZ, kLargestZ);
}

Verdict CheckDistinctRows(const GradientSample& sample) {
  double repeated = 0;
  const auto n = static_cast<size_t>(sample.batch_size);
  for (size_t first = 0; first < sample.rows.size(); first += n) {
    const std::set<uint32_t> distinct(sample.rows.begin() + static_cast<int64_t>(first),
                                      sample.rows.begin() + static_cast<int64_t>(first + n));
    repeated += static_cast<double>(n - distinct.size());
  }
  return Judge(repeated, 0, 0);
}

}  // namespace gradoracle
