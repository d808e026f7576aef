#include "core/accountant/curvature_accountant.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_format.h"
#include "core/accountant/noise_norms.h"
#include "core/errors.h"
#include "core/least_squares.h"

namespace gradoracle {
namespace {

constexpr int64_t kMostGradients = int64_t{1} << 53;
constexpr double kModelFactor = 1.25;
constexpr double kDeviations = 2;
constexpr Eigen::Index kLargestUnitDiagonal = 512;
// Beyond this multiple of the typical per-example gradient, clipping is taken to end what a larger norm gains.
constexpr double kClippingSlack = 3;

double Squared(double value) { return value * value; }

// What a reply of one batch size is made of.
struct ReplyLaw {
  double isotropic = 0;        // v
  double target_share = 0;     // s = tau^2 / n at the optimum, with the most target noise on offer
  double least_share = 0;      // the same with the least
  double row_share = 0;        // f_active / n, times the squared residual that w makes
  double sampling_factor = 1;  // f
  double radius = 0;           // R, or what clipping leaves of it
};

// f of the slopes: what is left of the rows' noise when gradients at one point are averaged.
double AveragedFactor(Sampling sampling, double factor) { return sampling == Sampling::kShuffledEpochs ? 0 : factor; }

// Of a reply's rows: 1 where they are drawn with replacement.
double RowsVarianceFactor(Sampling sampling, double rows, double n) {
  if (sampling == Sampling::kIid || rows == 1) return 1;
  return std::max(0.0, sampling == Sampling::kPoisson ? 1 - n / rows : (rows - n) / (rows - 1));
}

double RuleVariance(const NoiseInfo& noise, double residuals, double n) {
  switch (noise.rule) {
    case NoiseRule::kCalibrated:
      return n;
    case NoiseRule::kScaled:
      return noise.scale.value_or(1) * n;
    case NoiseRule::kFixed:
      return residuals + noise.injected_variance.value_or(0);
    case NoiseRule::kNone:
      return residuals;
  }
  return residuals;
}

ReplyLaw LawOf(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
               const Eigen::VectorXd& eigenvalues, int64_t batch_size) {
  const auto n = static_cast<double>(batch_size);
  const double rows = static_cast<double>(info.row_count);
  ReplyLaw law;
  law.sampling_factor = RowsVarianceFactor(info.sampling, rows, n);
  law.isotropic = IsotropicNoiseVariance(defence, batch_size) + Squared(defence.reply_grid.value_or(0)) / 12;
  const double rule = RuleVariance(info.noise, law.sampling_factor * profile.residual_variance, n);
  double least = rule;
  for (const double variance : info.noise.extra_variances) least = std::min(least, variance);
  law.target_share = rule / n;
  // Whole epochs average the rows' part away, that of their residuals too.
  const double averaged =
      info.sampling == Sampling::kShuffledEpochs ? law.sampling_factor * profile.residual_variance : 0;
  law.least_share = std::max(0.0, least - averaged) / n;
  law.row_share = AveragedFactor(info.sampling, law.sampling_factor) / n;
  law.radius = info.limits.max_weights_norm;
  if (defence.clip_norm.has_value()) {
    // ||g_i|| is about ||x_i|| |x_i'u| R at weights R u.
    const double typical = std::sqrt(eigenvalues.sum() * eigenvalues.maxCoeff());
    law.radius = std::min(law.radius, kClippingSlack * *defence.clip_norm / typical);
  }
  return law;
}

// E ||x||^2 xx' - H^2, by blocks of rows.
Eigen::MatrixXd SlopeMoment(const RowMajorMatrix& features, const Eigen::MatrixXd& hessian) {
  constexpr Eigen::Index kBlock = 4096;
  Eigen::MatrixXd moment = -hessian * hessian;
  for (Eigen::Index first = 0; first < features.rows(); first += kBlock) {
    const auto rows = features.middleRows(first, std::min(kBlock, features.rows() - first));
    const RowMajorMatrix scaled = rows.array().colwise() * rows.rowwise().norm().array();
    moment += scaled.transpose() * scaled / static_cast<double>(features.rows());
  }
  return moment;
}

// n = 1 makes Gaussian features' covariance estimates err by sqrt 3; kurtosis k in place of 3 (theory 1.1.5).
double KurtosisFactor(double kurtosis, double batch_size) { return std::sqrt(1 + (kurtosis - 1) / batch_size); }

std::vector<std::string> CommonAssumptions(const OracleInfo& info, const DefencePolicy& defence, double batch_size) {
  std::vector<std::string> assumptions = {
      absl::StrFormat("batches of %.0f rows, %s sampling, weights of norm up to %g", batch_size,
                      std::string(SamplingName(info.sampling)), info.limits.max_weights_norm),
      "known attacks only; the caller starts without any prior knowledge of the curvature but what info tells",
  };
  if (defence.weights_grid.has_value()) {
    assumptions.emplace_back("the grid of weights is taken not to help: a caller asks at neighbouring points");
  }
  if (defence.max_participation.has_value()) {
    assumptions.emplace_back("the cap on participation is taken not to help: it ends answers, not what they tell");
  }
  if (defence.clip_norm.has_value()) {
    assumptions.push_back(
        absl::StrFormat("clipping is taken to hide nothing but what exceeds %g times the typical per-example gradient",
                        kClippingSlack));
  }
  return assumptions;
}

}  // namespace

CurvatureProfile ProfileOf(const LocalOracle& oracle) {
  CurvatureProfile profile;
  profile.hessian = oracle.fit().hessian;
  profile.residual_variance = oracle.fit().residual_variance;
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(profile.hessian);
  const Eigen::VectorXd top = solver.eigenvectors().rightCols<1>();
  const Eigen::ArrayXd squares = (oracle.data().features * top).array().square();
  const double variance = squares.mean();
  if (variance > 0) profile.top_kurtosis = squares.square().mean() / Squared(variance);
  profile.slope_moment = SlopeMoment(oracle.data().features, profile.hessian);
  return profile;
}

LeakageModel::LeakageModel(const OracleInfo& info, const DefencePolicy& defence, const CurvatureProfile& profile,
                           int64_t batch_size) {
  const Eigen::VectorXd eigenvalues =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(profile.hessian, Eigen::EigenvaluesOnly).eigenvalues().cwiseMax(0);
  const double norm = eigenvalues.maxCoeff();
  const auto d = static_cast<double>(eigenvalues.size());
  const auto n = static_cast<double>(batch_size);
  const ReplyLaw law = LawOf(info, defence, profile, eigenvalues, batch_size);
  const bool hidden = HasIsotropicNoise(defence);
  const double gaussian_tails = KurtosisFactor(3, n);
  const double tails = std::max(1.0, KurtosisFactor(profile.top_kurtosis, n) / gaussian_tails);
  const std::vector<std::string> common = CommonAssumptions(info, defence, n);

  // Passive. The share of H, and what the rest of the covariance is made of.
  const double far_share = law.sampling_factor * (profile.residual_variance + Squared(law.radius) * norm) / n;
  double share = law.target_share;
  if (hidden) share = far_share;
  if (share > 0) {
    const Eigen::VectorXd covariance = (share * eigenvalues.array() + law.isotropic).matrix();
    const NormLaw noise = CovarianceNoiseNorm(covariance);
    Attack attack;
    attack.name = "covariance";
    attack.linear = gaussian_tails * noise.mean / (share * norm);
    attack.quadratic = gaussian_tails * covariance.sum() / (share * norm);
    attack.lowest = attack.linear;
    attack.relative_deviation = noise.deviation / noise.mean;
    attack.tails = tails;
    attack.assumptions = common;
    attack.assumptions.emplace_back(
        hidden ? "the caller knows the isotropic noise and subtracts it, and asks where the rows' own noise is largest"
               : "the caller has moved to the optimum and knows the total noise variance");
    attacks_.push_back(attack);
    if (info.noise.curvature_probe && !hidden) {
      attack.name = "curvature_probe";
      attack.assumptions = common;
      attacks_.push_back(std::move(attack));
    }
  }
  if (share > 0 && !hidden && HasUnitDiagonal(info) && eigenvalues.size() <= kLargestUnitDiagonal) {
    const NormLaw noise = UnitDiagonalNoiseNorm(profile.hessian);
    // A diagonal that is the whole matrix is known without a gradient: then nothing remains to be predicted.
    Attack attack;
    attack.name = "unit_diagonal";
    attack.linear = gaussian_tails * noise.mean / norm;
    attack.quadratic = gaussian_tails * eigenvalues.sum() / norm;
    attack.lowest = attack.linear;
    attack.relative_deviation = noise.mean > 0 ? noise.deviation / noise.mean : 0;
    attack.tails = tails;
    attack.assumptions = common;
    attack.assumptions.emplace_back("the caller has moved to the optimum");
    attacks_.push_back(std::move(attack));
  }

  // Active.
  const double row_share = law.row_share * Squared(law.radius) / d;
  const auto linear_of = [&](const NormLaw& noise) { return std::sqrt(d) / law.radius * noise.mean / norm; };
  const NormLaw gaussian_slope = SlopeNoiseNorm(
      ((law.least_share + row_share * eigenvalues.sum()) * eigenvalues.array() + law.isotropic).matrix());
  NormLaw slope = gaussian_slope;
  if (profile.slope_moment.size() > 0 && row_share > 0) {
    const Eigen::MatrixXd covariance = law.least_share * profile.hessian + row_share * profile.slope_moment;
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance, Eigen::EigenvaluesOnly);
    slope = SlopeNoiseNorm((solver.eigenvalues().array() + law.isotropic).matrix());
  }
  Attack active;
  active.name = "active";
  active.linear = linear_of(slope);
  active.lowest = std::min(linear_of(gaussian_slope), active.linear);
  active.relative_deviation = slope.mean > 0 ? slope.deviation / slope.mean : 0;
  active.smallest_count = static_cast<int64_t>(eigenvalues.size()) + 1;
  active.assumptions = common;
  active.assumptions.emplace_back("the caller asks at weights of the largest norm, in balanced directions");
  attacks_.push_back(std::move(active));
}

LeakagePrediction LeakageModel::PredictAttack(const Attack& attack, int64_t count) {
  const auto m = static_cast<double>(count);
  LeakagePrediction prediction;
  prediction.attack = attack.name;
  prediction.relative_error = attack.linear / std::sqrt(m) + attack.quadratic / m;
  const double spread = std::min(0.9, kDeviations * attack.relative_deviation);
  // The lower end leaves out the term in 1/m, the bias of large errors, as a caller may shrink it away (theory 2).
  prediction.lower = attack.lowest / std::sqrt(m) * (1 - spread) / kModelFactor;
  prediction.upper = prediction.relative_error * (1 + spread) * kModelFactor * attack.tails;
  prediction.assumptions = attack.assumptions;
  return prediction;
}

std::vector<LeakagePrediction> LeakageModel::Predict(int64_t count) const {
  std::vector<LeakagePrediction> predictions;
  const LeakagePrediction* passive = nullptr;
  for (const Attack& attack : attacks_) {
    if (count >= attack.smallest_count) predictions.push_back(PredictAttack(attack, count));
  }
  for (const LeakagePrediction& prediction : predictions) {
    const bool is_active = prediction.attack == "active";
    if (!is_active && (passive == nullptr || prediction.lower < passive->lower)) passive = &prediction;
  }
  if (passive == nullptr || predictions.back().attack != "active") return predictions;
  const LeakagePrediction& active = predictions.back();
  const auto combine = [](double a, double b) { return a > 0 && b > 0 ? a * b / std::hypot(a, b) : 0; };
  LeakagePrediction combined;
  combined.attack = "combined";
  combined.relative_error = combine(passive->relative_error, active.relative_error);
  combined.lower = combine(passive->lower, active.lower);
  combined.upper = std::min(passive->upper, active.upper);
  combined.assumptions = active.assumptions;
  combined.assumptions.emplace_back(absl::StrFormat("weighted with %s, as if from other gradients", passive->attack));
  predictions.push_back(std::move(combined));
  return predictions;
}

LeakagePrediction LeakageModel::Strongest(int64_t count) const {
  std::vector<LeakagePrediction> predictions = Predict(count);
  if (predictions.empty()) return {"none", HUGE_VAL, HUGE_VAL, HUGE_VAL, {}};
  return *std::min_element(predictions.begin(), predictions.end(),
                           [](const LeakagePrediction& a, const LeakagePrediction& b) { return a.lower < b.lower; });
}

std::vector<LeakagePrediction> PredictLeakage(const OracleInfo& info, const DefencePolicy& defence,
                                              const CurvatureProfile& profile, int64_t batch_size, int64_t count) {
  return LeakageModel(info, defence, profile, batch_size).Predict(count);
}

CurvatureAccountant::CurvatureAccountant(const OracleInfo& info, const DefencePolicy& defence,
                                         const CurvatureProfile& profile) {
  models_.emplace_back(info, defence, profile, info.limits.min_batch_size);
  if (info.limits.max_batch_size > info.limits.min_batch_size) {
    models_.emplace_back(info, defence, profile, info.limits.max_batch_size);
  }
  // Clipping's noise falls as 1/n^2, the rows' part, which tells, as (1 - n/N)/n: their ratio is best at N/2.
  const int64_t middle = info.row_count / 2;
  if (defence.clip_norm.has_value() && middle > info.limits.min_batch_size && middle < info.limits.max_batch_size) {
    models_.emplace_back(info, defence, profile, middle);
  }
}

LeakagePrediction CurvatureAccountant::Strongest(int64_t count) const {
  LeakagePrediction strongest = models_.front().Strongest(count);
  for (size_t i = 1; i < models_.size(); ++i) {
    LeakagePrediction other = models_[i].Strongest(count);
    if (other.lower < strongest.lower) strongest = std::move(other);
  }
  return strongest;
}

absl::StatusOr<int64_t> CurvatureAccountant::LargestCount(double relative_error) const {
  if (!(relative_error > 0 && relative_error < 1)) {
    return InvalidField("CURVATURE_FLOOR_INVALID", "curvature_floor",
                        absl::StrFormat("--curvature-floor is %.15g; must be above 0 and below 1, the error of an "
                                        "estimate of zero",
                                        relative_error));
  }
  // The strongest lower end never grows with the count, also where an attack becomes possible.
  int64_t low = 0;
  int64_t high = kMostGradients + 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (Strongest(middle).lower >= relative_error ? low : high) = middle;
  }
  return low;
}

}  // namespace gradoracle
