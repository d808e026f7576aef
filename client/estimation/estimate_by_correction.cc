#include <cmath>

#include "Eigen/Cholesky"
#include "absl/random/gaussian_distribution.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/kappa.h"
#include "client/estimation/split_limit.h"
#include "core/errors.h"
#include "core/status_macros.h"

// Theory 1.4.2: for Gaussian features nC = (tau^2 + q) H + mu mu', so with kappa = q/(tau^2 + 2q)
//   H = (nC - mu mu') (1 - 2 kappa) / (tau^2 (1 - kappa)),     mu mu' ~ gbar gbar' - C/m.
namespace gradoracle {
namespace {

constexpr double kLargestKappa = 0.25;  // q = tau^2 / 2: beyond, the correction hurts on all but Gaussian features

struct Moments {
  Eigen::MatrixXd covariance;
  Eigen::VectorXd mean;
};
struct Scales {
  int64_t count = 0;
  int64_t batch_size = 0;
  double total_noise_variance = 0;
};

Eigen::MatrixXd Corrected(const Moments& moments, const Scales& scales) {
  const double kappa = EstimateKappa(moments.covariance, moments.mean, scales.count, scales.batch_size);
  const double factor = (1 - 2 * kappa) / (scales.total_noise_variance * (1 - kappa));
  const double n = static_cast<double>(scales.batch_size) + 1 / static_cast<double>(scales.count);
  return factor * (n * moments.covariance - moments.mean * moments.mean.transpose());
}

// N(0, covariance / count), the error of the mean; also for a singular covariance.
class MeanError {
 public:
  MeanError(const Eigen::MatrixXd& covariance, int64_t count) : factor_(covariance), count_(count) {}

  Eigen::VectorXd Draw(absl::BitGenRef generator) const {
    absl::gaussian_distribution<double> normal;
    Eigen::VectorXd error(factor_.rows());
    for (double& entry : error) entry = normal(generator);
    error.array() *= (factor_.vectorD().array().max(0) / static_cast<double>(count_)).sqrt();
    return factor_.transpositionsP().transpose() * (factor_.matrixL() * error).eval();
  }

 private:
  Eigen::LDLT<Eigen::MatrixXd> factor_;
  int64_t count_;
};

absl::Status CheckCount(int64_t count, int64_t dimension, bool stopped) {
  if (count > dimension + 2) return absl::OkStatus();
  if (stopped) return Interrupted(Estimator::kCorrected);
  return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                   absl::StrCat("count is ", count, ", but corrected needs more than dimension + 2 = ", dimension + 2,
                                " gradients; ask for more, or use --estimator covariance"));
}

}  // namespace

absl::StatusOr<HessianEstimate> EstimateByCorrection(EstimationRun& run) {
  const EstimationOptions& options = run.options;
  GRADORACLE_RETURN_IF_ERROR(CheckCount(options.count, run.info.dimension, false));
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseChoice noise,
                              ChooseNoise(run.info.noise, options.batch_size, options.total_noise_variance));
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator,
                              MakeEstimator(run, noise.total_noise_variance, options.count));
  GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, options.weights, options.count, noise), estimator));
  GRADORACLE_RETURN_IF_ERROR(CheckCount(estimator.count(), run.info.dimension, run.requests.stopped()));

  const StreamingCovariance& stream = estimator.covariance();
  const Scales scales{stream.count(), options.batch_size, noise.total_noise_variance};
  const Moments moments{stream.Scatter() / static_cast<double>(stream.count() - 1), stream.Mean()};
  const double kappa = EstimateKappa(moments.covariance, moments.mean, scales.count, scales.batch_size);
  if (!(kappa <= kLargestKappa)) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "CORRECTION_REFUSED", "estimator",
        absl::StrFormat("estimator is corrected, but kappa is %.3f, above %.2f: so far from the optimum the "
                        "correction hurts unless the features are exactly Gaussian; query nearer the "
                        "optimum, or use --estimator auto",
                        kappa, kLargestKappa));
  }

  UnfinishedEstimate unfinished;
  unfinished.hessian = Corrected(moments, scales);
  if (!unfinished.hessian.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: entries so large that their products overflow");
  }
  const SplitDifferences differences(stream);
  const MeanError mean_error(moments.covariance, scales.count);
  if (differences.available()) {
    // Delta method, by central differences: both moments move as far as sampling moves them.
    unfinished.difference = [&](absl::BitGenRef generator, Eigen::MatrixXd& lower) {
      differences.Draw(generator, lower);
      const Eigen::MatrixXd error = lower.selfadjointView<Eigen::Lower>();
      const Eigen::VectorXd shift = mean_error.Draw(generator);
      lower = 0.5 * (Corrected({moments.covariance + error, moments.mean + shift}, scales) -
                     Corrected({moments.covariance - error, moments.mean - shift}, scales));
    };
  }
  unfinished.count = scales.count;
  unfinished.kurtosis_share = differences.kurtosis_share();
  unfinished.unit_diagonal = run.impose_unit_diagonal();

  HessianEstimate estimate;
  estimate.estimator = Estimator::kCorrected;
  estimate.dimension = run.info.dimension;
  estimate.batch_size = options.batch_size;
  estimate.total_noise_variance = noise.total_noise_variance;
  estimate.mean_gradient = moments.mean;
  estimate.weights = options.weights;
  estimate.kappa = kappa;
  FinishEstimate(std::move(unfinished), options.level, run.generator, estimate);
  if (run.unit_diagonal_known()) FindExcessDiagonal(run.info.feature_names, scales.count, estimate);
  return estimate;
}

}  // namespace gradoracle
