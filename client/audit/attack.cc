#include "client/audit/attack.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "Eigen/QR"
#include "absl/random/distributions.h"
#include "absl/strings/str_cat.h"
#include "client/estimation/active_design.h"
#include "client/estimation/estimator.h"
#include "client/estimation/noise_level.h"
#include "client/estimation/streaming_covariance.h"
#include "core/defence/defence_policy.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kCovarianceBlock = 64;

absl::Status Unavailable(absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "ATTACK_NOT_AVAILABLE", "", why);
}

int64_t OwnBatch(const OracleInfo&, const AttackSetting& setting) { return setting.batch_size; }
int64_t LargestBatch(const OracleInfo& info, const AttackSetting&) { return info.limits.max_batch_size; }
absl::Status Always(const OracleInfo&, const AttackSetting&) { return absl::OkStatus(); }

double KnownOrBelievedNoise(const OracleInfo& info, const AttackSetting& setting) {
  return KnownTotalNoiseVariance(info.noise, setting.batch_size).value_or(setting.believed_noise_variance);
}

// --- Covariances: one stream, looked at whenever a budget is reached ---

// H_hat = scale * (sample covariance - the isotropic noise that the oracle tells of [theory 6b]) after each budget.
absl::Status StreamCovariance(GradientSource& source, GradientQuery query, double scale,
                              absl::Span<const int64_t> budgets, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  const double isotropic = IsotropicNoiseVariance(info.defence, query.batch_size);
  query.count = budgets.back();
  StreamingCovariance covariance(query.weights.size(), kCovarianceBlock);
  size_t next = 0;
  return source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) -> absl::Status {
    for (int64_t first = 0; first < block.rows();) {
      const int64_t wanted = next < budgets.size() ? budgets[next] - covariance.count() : block.rows();
      const int64_t size = std::min<int64_t>(wanted, block.rows() - first);
      GRADORACLE_RETURN_IF_ERROR(covariance.Add(block.middleRows(first, size)));
      first += size;
      if (next < budgets.size() && covariance.count() == budgets[next]) {
        Recovery recovery;
        recovery.gradients = covariance.count();
        if (recovery.gradients >= 2) {
          recovery.hessian = covariance.Scatter() * (scale / static_cast<double>(recovery.gradients - 1));
          recovery.hessian.diagonal().array() -= scale * isotropic;
          sink(next, recovery);
        }
        ++next;
      }
    }
    return absl::OkStatus();
  });
}

absl::Status RunCovariance(GradientSource& source, const AttackSetting& setting, absl::Span<const int64_t> budgets,
                           absl::BitGenRef, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(info.dimension);
  query.batch_size = setting.batch_size;
  return StreamCovariance(source, std::move(query),
                          static_cast<double>(setting.batch_size) / KnownOrBelievedNoise(info, setting), budgets, sink);
}

absl::Status RunCovarianceAtModel(GradientSource& source, const AttackSetting& setting,
                                  absl::Span<const int64_t> budgets, absl::BitGenRef, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GradientQuery query;
  query.weights = setting.published_weights;
  query.batch_size = setting.batch_size;
  return StreamCovariance(source, std::move(query),
                          static_cast<double>(setting.batch_size) / KnownOrBelievedNoise(info, setting), budgets, sink);
}

absl::Status RunProbe(GradientSource& source, const AttackSetting& setting, absl::Span<const int64_t> budgets,
                      absl::BitGenRef, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(info.dimension);
  query.batch_size = setting.batch_size;
  query.curvature_probe = true;
  return StreamCovariance(source, std::move(query), 1, budgets, sink);
}

double LargestExtra(const OracleInfo& info) {
  return *std::max_element(info.noise.extra_variances.begin(), info.noise.extra_variances.end());
}

absl::Status RunLargeNoise(GradientSource& source, const AttackSetting& setting, absl::Span<const int64_t> budgets,
                           absl::BitGenRef, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(info.dimension);
  query.batch_size = setting.batch_size;
  query.total_noise_variance = LargestExtra(info);
  return StreamCovariance(source, std::move(query), static_cast<double>(setting.batch_size) / LargestExtra(info),
                          budgets, sink);
}

// --- Estimators ---

// What an estimator says when it cannot do anything with its budget, or sees that it would do harm.
bool IsOwnRefusal(const absl::Status& status) {
  const std::optional<std::string> reason = ErrorReason(status);
  return reason == "TOO_FEW_GRADIENTS" || reason == "CORRECTION_REFUSED";
}

absl::Status RunEstimator(Estimator estimator, int64_t batch_size, GradientSource& source, const AttackSetting& setting,
                          absl::Span<const int64_t> budgets, absl::BitGenRef generator, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  for (size_t index = 0; index < budgets.size(); ++index) {
    if (budgets[index] < 2) continue;
    EstimationOptions options;
    options.estimator = estimator;
    options.weights = Eigen::VectorXd::Zero(info.dimension);
    options.batch_size = batch_size;
    options.count = budgets[index];
    options.impose_unit_diagonal = false;  // judged both ways afterwards
    if (!KnownTotalNoiseVariance(info.noise, batch_size).has_value()) {
      options.total_noise_variance = setting.believed_noise_variance;
    }
    const absl::StatusOr<HessianEstimate> estimate = EstimateHessian(source, options, generator);
    if (!estimate.ok() && IsOwnRefusal(estimate.status())) continue;
    GRADORACLE_RETURN_IF_ERROR(estimate.status());
    Recovery recovery;
    recovery.gradients = estimate->gradients;
    recovery.hessian = estimate->hessian;
    sink(index, recovery);
  }
  return absl::OkStatus();
}

Attack EstimatorAttack(Estimator estimator) {
  Attack attack;
  attack.name = std::string(EstimatorName(estimator));
  attack.available = Always;
  attack.batch_size = OwnBatch;
  attack.run = [estimator](GradientSource& source, const AttackSetting& setting, absl::Span<const int64_t> budgets,
                           absl::BitGenRef generator, RecoverySink sink) {
    return RunEstimator(estimator, setting.batch_size, source, setting, budgets, generator, sink);
  };
  return attack;
}

// --- Averaging ---

// A random orthonormal frame: Q of a Gaussian matrix.
Eigen::MatrixXd DrawFrame(int64_t dimension, absl::BitGenRef generator) {
  const Eigen::MatrixXd gaussian = Eigen::MatrixXd::NullaryExpr(
      dimension, dimension, [&](Eigen::Index, Eigen::Index) { return absl::Gaussian<double>(generator); });
  return Eigen::HouseholderQR<Eigen::MatrixXd>(gaussian).householderQ();
}

absl::Status RunAveraging(GradientSource& source, const AttackSetting&, absl::Span<const int64_t> budgets,
                          absl::BitGenRef generator, RecoverySink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  const int64_t batch_size = info.limits.max_batch_size;
  const double radius = DesignRadius(info, batch_size);
  const NoiseLevel noise = SmallestNoiseLevel(info, batch_size);
  for (size_t index = 0; index < budgets.size(); ++index) {
    const int64_t each = budgets[index] / (info.dimension + 1);
    if (each < 1) continue;
    const Eigen::MatrixXd frame = DrawFrame(info.dimension, generator);
    RowMajorMatrix means = RowMajorMatrix::Zero(info.dimension + 1, info.dimension);
    for (int64_t point = 0; point <= info.dimension; ++point) {
      GradientQuery query;
      query.weights = Eigen::VectorXd::Zero(info.dimension);
      if (point > 0) query.weights = radius * frame.col(point - 1);
      query.batch_size = batch_size;
      query.count = each;
      ApplyNoiseLevel(noise, query);
      GRADORACLE_RETURN_IF_ERROR(source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
        means.row(point) += block.colwise().sum() / static_cast<double>(each);
        return absl::OkStatus();
      }));
    }
    Recovery recovery = SolveAveraging(means, frame, radius);
    recovery.gradients = each * (info.dimension + 1);
    sink(index, recovery);
  }
  return absl::OkStatus();
}

// --- The list ---

std::vector<Attack> MakeAttacks() {
  std::vector<Attack> attacks;
  {
    Attack attack;
    attack.name = "covariance";
    attack.title = "Watching";
    attack.description =
        "Asks for gradients at zero weights and takes their covariance, which the calibrated noise makes the Hessian.";
    attack.requirement = "nothing but gradients at one point";
    attack.covariance = true;
    attack.available = Always;
    attack.batch_size = OwnBatch;
    attack.run = RunCovariance;
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack;
    attack.name = "covariance_at_model";
    attack.title = "Watching at a published model";
    attack.description = "The same at the weights of a published least-squares model, where no bias is left.";
    attack.requirement = "a model of this data that is public, within the limit on the norm of weights";
    attack.covariance = true;
    attack.available = [](const OracleInfo& info, const AttackSetting& setting) {
      if (setting.published_weights.size() == 0) return Unavailable("no model is known without the owner's data");
      if (setting.published_weights.norm() > info.limits.max_weights_norm) {
        return Unavailable("the model's weights lie beyond limits.max_weights_norm");
      }
      return absl::OkStatus();
    };
    attack.batch_size = OwnBatch;
    attack.run = RunCovarianceAtModel;
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack;
    attack.name = "large_noise";
    attack.title = "Watching at the largest noise";
    attack.description =
        "Asks for the largest noise level offered, which drowns the residuals' part of the covariance.";
    attack.requirement = "extra_noise_variances";
    attack.covariance = true;
    attack.available = [](const OracleInfo& info, const AttackSetting&) {
      return info.noise.extra_variances.empty() ? Unavailable("the policy offers no extra noise variances")
                                                : absl::OkStatus();
    };
    attack.batch_size = OwnBatch;
    attack.run = RunLargeNoise;
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack;
    attack.name = "probe";
    attack.title = "Curvature probe";
    attack.description =
        "Asks for gradients with the targets switched off, whose covariance is the Hessian at any weights.";
    attack.requirement = "curvature_probe";
    attack.covariance = true;
    attack.available = [](const OracleInfo& info, const AttackSetting&) {
      return info.noise.curvature_probe ? absl::OkStatus() : Unavailable("the policy offers no curvature probe");
    };
    attack.batch_size = OwnBatch;
    attack.run = RunProbe;
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack = EstimatorAttack(Estimator::kCorrected);
    attack.title = "Watching, corrected";
    attack.description = "Covariance at zero weights with the residuals' part subtracted as for Gaussian features.";
    attack.requirement = "nothing but gradients at one point";
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack = EstimatorAttack(Estimator::kTwoLevel);
    attack.title = "Two noise levels";
    attack.description = "Difference of the covariances at two noise levels, in which everything but the Hessian goes.";
    attack.requirement = "extra_noise_variances";
    attack.available = [](const OracleInfo& info, const AttackSetting&) {
      return info.noise.extra_variances.empty() ? Unavailable("the policy offers no extra noise variances")
                                                : absl::OkStatus();
    };
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack = EstimatorAttack(Estimator::kWarmUp);
    attack.title = "Walking to the optimum";
    attack.description = "Spends half on steps towards the least-squares fit, then takes the covariance there.";
    attack.requirement = "weights of the caller's choice; standardised data";
    attack.available = [](const OracleInfo& info, const AttackSetting&) {
      return HasUnitDiagonal(info) ? absl::OkStatus() : Unavailable("the diagonal of the Hessian is not known");
    };
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack = EstimatorAttack(Estimator::kActive);
    attack.title = "Probing with large weights";
    attack.description =
        "Differences of gradients at plus and minus the largest weights allowed, along a random orthonormal frame.";
    attack.requirement = "weights of the caller's choice";
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack = EstimatorAttack(Estimator::kAuto);
    attack.title = "Automatic choice";
    attack.description =
        "A pilot of 128 gradients, then whichever of these promises most: what `gradoracle estimate` does.";
    attack.requirement = "nothing; uses what is offered";
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack = EstimatorAttack(Estimator::kActive);
    attack.name = "active_large_batch";
    attack.title = "Probing with large weights and the largest batches";
    attack.description =
        "The same design with max_batch_size rows a gradient, where a batch hardly differs from the data.";
    attack.requirement = "weights and batch size of the caller's choice";
    attack.batch_size = LargestBatch;
    attack.run = [](GradientSource& source, const AttackSetting& setting, absl::Span<const int64_t> budgets,
                    absl::BitGenRef generator, RecoverySink sink) -> absl::Status {
      GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
      return RunEstimator(Estimator::kActive, info.limits.max_batch_size, source, setting, budgets, generator, sink);
    };
    attacks.push_back(std::move(attack));
  }
  {
    Attack attack;
    attack.name = "averaging";
    attack.title = "Averaging at d + 1 points";
    attack.description =
        "Mean gradients at zero and at d points of the largest norm, with the largest batches and the smallest noise; "
        "solves for the Hessian and the fitted weights.";
    attack.requirement = "weights and batch size of the caller's choice";
    attack.available = Always;
    attack.batch_size = LargestBatch;
    attack.run = RunAveraging;
    attacks.push_back(std::move(attack));
  }
  return attacks;
}

}  // namespace

Recovery SolveAveraging(const RowMajorMatrix& means, const Eigen::MatrixXd& frame, double radius) {
  const Eigen::Index dimension = frame.rows();
  const Eigen::MatrixXd slopes =
      (means.bottomRows(dimension).rowwise() - means.row(0)).transpose() / radius;  // columns H q_j
  const Eigen::MatrixXd hessian = slopes * frame.transpose();
  Recovery recovery;
  recovery.hessian = (hessian + hessian.transpose()) / 2;
  recovery.weights = -recovery.hessian.completeOrthogonalDecomposition().solve(means.row(0).transpose());
  return recovery;
}

const std::vector<Attack>& CurvatureAttacks() {
  static const std::vector<Attack>* const attacks = new std::vector<Attack>(MakeAttacks());
  return *attacks;
}

const Attack* FindAttack(absl::string_view name) {
  for (const Attack& attack : CurvatureAttacks()) {
    if (attack.name == name) return &attack;
  }
  return nullptr;
}

}  // namespace gradoracle
