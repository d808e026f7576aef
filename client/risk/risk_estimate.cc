#include "client/risk/risk_estimate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "boost/math/distributions/normal.hpp"
#include "client/estimation/hessian_form.h"
#include "client/estimation/noise_level.h"
#include "client/estimation/preconditioner.h"
#include "client/estimation/streaming_covariance.h"
#include "client/estimation/unit_diagonal.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kCovarianceBlock = 64;
constexpr int64_t kSpareGradients = 12;  // beyond d, for an inverse that means something

// What one sample of gradients says.
struct Sample {
  Eigen::VectorXd mean;
  Eigen::MatrixXd covariance;
  double count = 0;
};

absl::Status Check(const Eigen::Ref<const Eigen::VectorXd>& weights, const OracleInfo& info,
                   const RiskOptions& options);
Sample Summary(const StreamingCovariance& gathered);
Interval Around(double value, double deviation, double quantile);
// What the errors of an inverse do to v'H v, relative to 2 (v'H v)^2/m, their law without a known diagonal.
double InverseErrorFactor(const Eigen::MatrixXd& unit_hessian, const Eigen::VectorXd& direction);
// Value and variance of q_hat = g'P g - tr(P C)/m, an estimate of mu'H^{-1}mu. unit_hessian: empty where the diagonal
// of H is not known.
struct Form {
  double value = 0;
  double variance = 0;
};
Form MeanForm(const Preconditioner& inverse, const Eigen::MatrixXd& unit_hessian, int64_t curvature_count,
              const Sample& sample);

}  // namespace

absl::StatusOr<RiskEstimate> EstimateRisk(GradientSource& oracle, const Eigen::Ref<const Eigen::VectorXd>& weights,
                                          const RiskOptions& options) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, oracle.Info());
  GRADORACLE_RETURN_IF_ERROR(Check(weights, info, options));
  GRADORACLE_RETURN_IF_ERROR(CheckMemory(HessianForm::kDense, info.dimension, options.count, kDefaultSketchRows));
  const NoiseLevel smallest = SmallestNoiseLevel(info, options.batch_size);
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseLevel largest,
                              CurvatureNoiseLevel(info, options.batch_size, options.total_noise_variance));
  // One level for both: the gradients at zero serve twice.
  const bool one_level = !largest.curvature_probe && smallest.requested == largest.requested;

  int64_t done = 0;
  const auto gather = [&](const Eigen::VectorXd& point, const NoiseLevel& level,
                          int64_t count) -> absl::StatusOr<StreamingCovariance> {
    StreamingCovariance gathered(info.dimension, kCovarianceBlock);
    GradientQuery query;
    query.weights = point;
    query.batch_size = options.batch_size;
    ApplyNoiseLevel(level, query);
    for (int64_t left = count; left > 0; left -= query.count) {
      query.count = std::min(left, std::max<int64_t>(1, info.limits.max_count));
      const absl::Status status =
          oracle.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) -> absl::Status {
            GRADORACLE_RETURN_IF_ERROR(gathered.Add(block));
            done += block.rows();
            if (!options.watch || options.watch(done)) return absl::OkStatus();
            return MakeError(absl::StatusCode::kCancelled, "INTERRUPTED", "", "interrupted");
          });
      GRADORACLE_RETURN_IF_ERROR(status);
    }
    return gathered;
  };
  const Eigen::VectorXd zero = Eigen::VectorXd::Zero(info.dimension);
  const int64_t for_curvature = one_level ? 0 : options.count / 4;
  const int64_t for_zero = (options.count - for_curvature) / 2;
  GRADORACLE_ASSIGN_OR_RETURN(const StreamingCovariance at_zero, gather(zero, smallest, for_zero));
  GRADORACLE_ASSIGN_OR_RETURN(const StreamingCovariance at_weights,
                              gather(weights, smallest, options.count - for_curvature - for_zero));
  std::optional<StreamingCovariance> probed;
  if (!one_level) {
    GRADORACLE_ASSIGN_OR_RETURN(probed, gather(zero, largest, for_curvature));
  }

  const Sample sample_zero = Summary(at_zero);
  const Sample sample_weights = Summary(at_weights);
  const Sample curvature = one_level ? sample_zero : Summary(*probed);
  const double n = static_cast<double>(options.batch_size);
  Preconditioner::Options inverse_options;
  inverse_options.unit_diagonal = HasUnitDiagonal(info);
  const Eigen::MatrixXd hessian = n / largest.total.value_or(n) * curvature.covariance;
  GRADORACLE_ASSIGN_OR_RETURN(
      const Preconditioner inverse,
      Preconditioner::FromHessian(hessian, static_cast<int64_t>(curvature.count), inverse_options));
  Eigen::MatrixXd unit_hessian;
  if (inverse_options.unit_diagonal) {
    unit_hessian = hessian;
    ImposeUnitDiagonal(UnitDiagonalScale(hessian), unit_hessian);
  }

  const double second_moment = options.target_second_moment.value_or(1);
  const double risk = second_moment + weights.dot(sample_zero.mean + sample_weights.mean);
  const double risk_variance = weights.dot(sample_zero.covariance * weights) / sample_zero.count +
                               weights.dot(sample_weights.covariance * weights) / sample_weights.count;
  const Form form = MeanForm(inverse, unit_hessian, static_cast<int64_t>(curvature.count), sample_weights);
  const double quantile = boost::math::quantile(boost::math::normal(), 0.5 + options.level / 2);

  RiskEstimate estimate;
  estimate.level = options.level;
  estimate.gradients = done;
  estimate.dual_norm = DualNorm(weights, options.norm);
  estimate.standard_risk = Around(risk, std::sqrt(risk_variance), quantile);
  estimate.adversarial_risk =
      AdversarialRisk(estimate.standard_risk, options.radius, estimate.dual_norm, options.largest_kurtosis);
  estimate.excess_risk = Around(0.5 * form.value, 0.5 * std::sqrt(form.variance), quantile);
  const double rows = static_cast<double>(info.row_count);
  const double rank = static_cast<double>(inverse.rank());
  const double freedom = rows > rank ? rows / (rows - rank) : 1;
  // The two errors share the gradients at w: their deviations are added, not their variances.
  estimate.residual_variance =
      Around(freedom * (risk - form.value), freedom * (std::sqrt(risk_variance) + std::sqrt(form.variance)), quantile);
  return estimate;
}

namespace {

absl::Status Check(const Eigen::Ref<const Eigen::VectorXd>& weights, const OracleInfo& info,
                   const RiskOptions& options) {
  if (weights.size() != info.dimension) {
    return InvalidField("WEIGHTS_DIMENSION", "weights",
                        absl::StrCat("weights have ", weights.size(), " entries, but must have ", info.dimension));
  }
  if (options.batch_size < 1) {
    return InvalidField("BATCH_SIZE_NOT_POSITIVE", "batch_size",
                        absl::StrCat("batch_size is ", options.batch_size, ", but must be at least 1"));
  }
  if (options.count < 1) {
    return InvalidField("COUNT_NOT_POSITIVE", "count",
                        absl::StrCat("count is ", options.count, ", but must be at least 1"));
  }
  const int64_t least = 4 * (info.dimension + kSpareGradients);
  if (options.count < least) {
    return FieldOutOfRange(
        "COUNT_TOO_SMALL", "count",
        absl::StrCat("count is ", options.count, ", but must be at least ", least,
                     ": a quarter of it makes the inverse of a Hessian of dimension ", info.dimension));
  }
  if (!(std::isfinite(options.radius) && options.radius >= 0)) {
    return InvalidField("RADIUS_NEGATIVE", "radius",
                        absl::StrCat("radius is ", options.radius, ", but must be finite and at least 0"));
  }
  if (!(std::isfinite(options.largest_kurtosis) && options.largest_kurtosis >= 1)) {
    return InvalidField("LARGEST_KURTOSIS_OUT_OF_RANGE", "largest_kurtosis",
                        absl::StrCat("largest_kurtosis is ", options.largest_kurtosis,
                                     ", but must be finite and at least 1, the least a kurtosis can be"));
  }
  if (!(options.level > 0.5 && options.level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", options.level, ", but must be above 0.5 and below 1"));
  }
  if (!HasUnitDiagonal(info) && !options.target_second_moment.has_value()) {
    return InvalidField("TARGET_SECOND_MOMENT_UNKNOWN", "target_second_moment",
                        absl::StrCat("target_second_moment: this oracle's units are `", info.scaling,
                                     "`, so that the mean square of its target is not known to be 1; give "
                                     "--target-second-moment V"));
  }
  return absl::OkStatus();
}

Sample Summary(const StreamingCovariance& gathered) {
  Sample sample;
  sample.count = static_cast<double>(gathered.count());
  sample.mean = gathered.Mean();
  sample.covariance = gathered.Scatter() / std::max(1.0, sample.count - 1);
  return sample;
}

// None of the values can be negative.
Interval Around(double value, double deviation, double quantile) {
  return {std::max(0.0, value), std::max(0.0, value - quantile * deviation),
          std::max(0.0, value + quantile * deviation)};
}

// The diagonal imposed, an error E of H_hat becomes E - (D H + H D)/2, D = diag E (unit_diagonal.h), and
//   v'(E - (D H + H D)/2)v = tr(A E),  A = vv' - diag(v_j (H v)_j),  of variance 2 tr((A H)^2)/m
// for Gaussian gradients; without the diagonal A = vv' and tr((A H)^2) = (v'H v)^2. Above 1 where entries of v and H v
// differ in sign: collinear features.
double InverseErrorFactor(const Eigen::MatrixXd& unit_hessian, const Eigen::VectorXd& direction) {
  const Eigen::VectorXd image = unit_hessian * direction;
  const double form = direction.dot(image);
  if (!(form > 0)) return 1;
  const Eigen::MatrixXd product =
      direction * image.transpose() - direction.cwiseProduct(image).asDiagonal() * unit_hessian;
  return product.cwiseProduct(product.transpose()).sum() / (form * form);
}

// Variance: of the mean gradient, 4 mu'P C P mu/m + 2 tr((PC)^2)/m^2, where the last trace is tr(PC)^2/r where C is
// near a multiple of H and P exact, and 1/(1 - r/m_c) times that for P from m_c gradients; and of the inverse Wishart
// form, 2 q^2/(m_c - r - 4) [theory 5.4], times InverseErrorFactor where the diagonal was imposed.
Form MeanForm(const Preconditioner& inverse, const Eigen::MatrixXd& unit_hessian, int64_t curvature_count,
              const Sample& sample) {
  const double trace = inverse.TraceOfProduct(sample.covariance) / sample.count;
  const Eigen::VectorXd direction = inverse.Apply(sample.mean);
  const double form = inverse.QuadraticForm(sample.mean);
  const double rank = static_cast<double>(inverse.rank());
  Form result;
  result.value = form - trace;
  const double spread = direction.dot(sample.covariance * direction) / sample.count;
  const double curvature = static_cast<double>(curvature_count);
  const double factor = unit_hessian.size() > 0 ? InverseErrorFactor(unit_hessian, direction) : 1;
  result.variance = 4 * spread + 2 * trace * trace / rank / (1 - std::min(rank / curvature, 0.9)) +
                    factor * 2 * result.value * result.value / std::max(1.0, curvature - rank - 4);
  return result;
}

}  // namespace
}  // namespace gradoracle
