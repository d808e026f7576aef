#include "client/estimation/shrinkage.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>
#include <utility>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "boost/math/quadrature/gauss_kronrod.hpp"
#include "boost/math/tools/roots.hpp"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr int64_t kFewestNonlinearDegrees = 12;  // from here on sqrt5 nu^(-1/3) < 1, which the null eigenvalues need
constexpr double kRankTolerance = 1e-12;         // of the largest eigenvalue

constexpr std::pair<ShrinkageMethod, absl::string_view> kNames[] = {
    {ShrinkageMethod::kNone, "none"},     {ShrinkageMethod::kLedoitWolf, "ledoit_wolf"},
    {ShrinkageMethod::kOas, "oas"},       {ShrinkageMethod::kNonlinear, "nonlinear"},
    {ShrinkageMethod::kSpiked, "spiked"},
};

absl::Status Check(ShrinkageMethod method, const Eigen::Ref<const Eigen::MatrixXd>& covariance, int64_t count,
                   std::optional<double> fourth_moment);
Eigen::MatrixXd Compose(const Eigen::MatrixXd& eigenvectors, const Eigen::VectorXd& eigenvalues);

// How many of the eigenvalues belong to the data, and in how many dimensions these live: with collinear features fewer
// than d.
struct Support {
  int64_t dimension = 0;  // d, or the rank if features are collinear
  int64_t positive = 0;   // eigenvalues above rounding error, at most min(d, nu): the last ones of an ascending list
};
Support FindSupport(const Eigen::VectorXd& eigenvalues, int64_t degrees);

struct Density {
  Eigen::VectorXd density;  // f_i
  Eigen::VectorXd hilbert;  // H_i
};
Density KernelDensity(const Eigen::VectorXd& eigenvalues, double bandwidth);
double KernelHilbertTransform(double x);

}  // namespace

absl::StatusOr<ShrinkageMethod> ParseShrinkageMethod(absl::string_view name) {
  for (const auto& [method, known] : kNames) {
    if (name == known) return method;
  }
  const std::string known =
      absl::StrJoin(kNames, ", ", [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.second); });
  return InvalidField("SHRINKAGE_UNKNOWN", "shrinkage",
                      absl::StrCat("shrinkage is '", name, "', but must be one of ", known));
}

absl::string_view ShrinkageMethodName(ShrinkageMethod method) {
  return std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& entry) { return entry.first == method; })
      ->second;
}

int64_t FewestGradients(ShrinkageMethod method) {
  return method == ShrinkageMethod::kNonlinear ? kFewestNonlinearDegrees + 1 : 2;
}

absl::StatusOr<ShrunkCovariance> Shrink(ShrinkageMethod method, const Eigen::Ref<const Eigen::MatrixXd>& covariance,
                                        int64_t count, std::optional<double> fourth_moment) {
  GRADORACLE_RETURN_IF_ERROR(Check(method, covariance, count, fourth_moment));
  ShrunkCovariance shrunk;
  if (method == ShrinkageMethod::kNone) {
    shrunk.matrix = covariance;
    return shrunk;
  }
  if (method == ShrinkageMethod::kLedoitWolf || method == ShrinkageMethod::kOas) {
    shrunk.intensity = method == ShrinkageMethod::kOas ? OasIntensity(covariance, count)
                                                       : LedoitWolfIntensity(covariance, count, *fourth_moment);
    shrunk.matrix = ShrinkTowardsIdentity(covariance, *shrunk.intensity);
    return shrunk;
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance);
  if (method == ShrinkageMethod::kNonlinear) {
    shrunk.matrix = Compose(solver.eigenvectors(), NonlinearEigenvalues(solver.eigenvalues(), count - 1));
  } else {
    SpikedEigenvalues spiked = ShrinkSpiked(solver.eigenvalues(), count - 1, SpikeLoss::kFrobenius);
    shrunk.spikes = spiked.spikes;
    shrunk.matrix = Compose(solver.eigenvectors(), spiked.eigenvalues);
  }
  return shrunk;
}

Eigen::MatrixXd ShrinkTowardsIdentity(const Eigen::Ref<const Eigen::MatrixXd>& covariance, double intensity) {
  Eigen::MatrixXd shrunk = (1 - intensity) * covariance;
  shrunk.diagonal().array() += intensity * covariance.trace() / static_cast<double>(covariance.rows());
  return shrunk;
}

double LedoitWolfIntensity(const Eigen::Ref<const Eigen::MatrixXd>& covariance, int64_t count, double fourth_moment) {
  const double d = static_cast<double>(covariance.rows());
  const double m = static_cast<double>(count);
  const double divisor = (m - 1) / m;
  const double trace = divisor * covariance.trace();
  const double square = divisor * divisor * covariance.squaredNorm();
  const double distance = square - trace * trace / d;
  const double noise = (fourth_moment / m - square) / m;
  return distance <= noise ? 1 : std::clamp(noise / distance, 0.0, 1.0);
}

double OasIntensity(const Eigen::Ref<const Eigen::MatrixXd>& covariance, int64_t count) {
  const double d = static_cast<double>(covariance.rows());
  const double degrees = static_cast<double>(count - 1);
  const double trace_square = covariance.trace() * covariance.trace();
  const double square = covariance.squaredNorm();
  const double numerator = (1 - 2 / d) * square + trace_square;
  const double denominator = (degrees + 1 - 2 / d) * (square - trace_square / d);
  return denominator <= numerator ? 1 : std::clamp(numerator / denominator, 0.0, 1.0);
}

Eigen::VectorXd NonlinearEigenvalues(const Eigen::VectorXd& eigenvalues, int64_t degrees) {
  const Support support = FindSupport(eigenvalues, degrees);
  Eigen::VectorXd shrunk = Eigen::VectorXd::Zero(eigenvalues.size());
  if (support.positive == 0) return shrunk;
  const Eigen::VectorXd positive = eigenvalues.tail(support.positive);
  const double d = static_cast<double>(support.dimension);
  const double nu = static_cast<double>(degrees);
  const double h = std::cbrt(1 / nu);
  const Density kernel = KernelDensity(positive, h);
  const Eigen::ArrayXd l = positive.array();
  if (support.dimension <= degrees) {
    const double ratio = d / nu;
    const Eigen::ArrayXd imaginary = kPi * ratio * l * kernel.density.array();
    const Eigen::ArrayXd real = 1 - ratio - kPi * ratio * l * kernel.hilbert.array();
    shrunk.tail(support.positive) = l / (imaginary.square() + real.square());
    return shrunk;
  }
  const double root = std::sqrt(5.0) * h;
  const double hilbert_at_zero =
      (1 / kPi) * (0.3 / (h * h) + 0.75 / root * (1 - 0.2 / (h * h)) * std::log((1 + root) / (1 - root))) *
      l.inverse().mean();
  shrunk.setConstant(1 / (kPi * (d - nu) / nu * hilbert_at_zero));
  shrunk.tail(support.positive) =
      (kPi * kPi * l * (kernel.density.array().square() + kernel.hilbert.array().square())).inverse();
  return shrunk;
}

SpikedEigenvalues ShrinkSpiked(const Eigen::VectorXd& eigenvalues, int64_t degrees, SpikeLoss loss) {
  const Support support = FindSupport(eigenvalues, degrees);
  SpikedEigenvalues result{Eigen::VectorXd::Zero(eigenvalues.size())};
  if (support.positive == 0) return result;
  const Eigen::VectorXd positive = eigenvalues.tail(support.positive);
  const double ratio = static_cast<double>(support.dimension) / static_cast<double>(degrees);
  // Beyond ratio 1 the positive eigenvalues of white noise are those of its Gram matrix: ratio times the law of
  // 1/ratio.
  const double law_median = ratio <= 1 ? MarchenkoPasturMedian(ratio) : ratio * MarchenkoPasturMedian(1 / ratio);
  const int64_t half = support.positive / 2;
  const double median = support.positive % 2 == 1 ? positive(half) : (positive(half - 1) + positive(half)) / 2;
  const double level = median / law_median;

  result.eigenvalues.tail(support.dimension).setConstant(level);
  const double edge = (1 + std::sqrt(ratio)) * (1 + std::sqrt(ratio));
  for (int64_t j = eigenvalues.size() - 1; j >= eigenvalues.size() - support.positive; --j) {
    const double relative = eigenvalues(j) / level;
    if (relative <= edge) break;
    const double sum = relative + 1 - ratio;
    const double spike = (sum + std::sqrt(std::max(0.0, sum * sum - 4 * relative))) / 2;
    const double cosine_square = (1 - ratio / ((spike - 1) * (spike - 1))) / (1 + ratio / (spike - 1));
    result.eigenvalues(j) = level * (loss == SpikeLoss::kOperator ? spike : spike * cosine_square + 1 - cosine_square);
    ++result.spikes;
  }
  return result;
}

double MarchenkoPasturMedian(double ratio) {
  // With x = 1 + y + 2 sqrt(y) cos t the law is (2/pi) sin^2 t / x dt on [0, pi]: smooth, also at y = 1.
  const double root = std::sqrt(ratio);
  const auto point = [&](double angle) { return 1 + ratio + 2 * root * std::cos(angle); };
  const auto density = [&](double angle) {
    const double sine = std::sin(angle);
    return 2 / kPi * sine * sine / std::max(point(angle), 1e-300);
  };
  const auto excess = [&](double angle) {  // of the mass above point(angle), over one half
    return boost::math::quadrature::gauss_kronrod<double, 31>::integrate(density, 0.0, angle, 10, 1e-12) - 0.5;
  };
  std::uintmax_t steps = 100;
  const auto [low, high] =
      boost::math::tools::toms748_solve(excess, 0.0, kPi, boost::math::tools::eps_tolerance<double>(44), steps);
  return point((low + high) / 2);
}

namespace {

absl::Status Check(ShrinkageMethod method, const Eigen::Ref<const Eigen::MatrixXd>& covariance, int64_t count,
                   std::optional<double> fourth_moment) {
  if (covariance.rows() != covariance.cols() || covariance.rows() == 0) {
    return InvalidField("COVARIANCE_SHAPE", "covariance",
                        absl::StrCat("covariance has shape (", covariance.rows(), ", ", covariance.cols(),
                                     "), but must be square and not empty"));
  }
  if (!covariance.allFinite()) {
    return InvalidField("COVARIANCE_NOT_FINITE", "covariance", "covariance: every entry must be finite");
  }
  const int64_t fewest = FewestGradients(method);
  if (count < fewest) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count is ", count, ", but shrinkage `", ShrinkageMethodName(method),
                                  "` needs at least ", fewest, " gradients"));
  }
  if (method == ShrinkageMethod::kLedoitWolf &&
      !(fourth_moment.has_value() && std::isfinite(*fourth_moment) && *fourth_moment >= 0)) {
    return InvalidField("FOURTH_MOMENT_REQUIRED", "fourth_moment",
                        "fourth_moment: shrinkage `ledoit_wolf` needs the finite sum of |g - mean|^4 over the "
                        "gradients; use `oas` where it was not gathered");
  }
  return absl::OkStatus();
}

Eigen::MatrixXd Compose(const Eigen::MatrixXd& eigenvectors, const Eigen::VectorXd& eigenvalues) {
  const Eigen::MatrixXd product = eigenvectors * eigenvalues.asDiagonal() * eigenvectors.transpose();
  return (product + product.transpose()) / 2;
}

Support FindSupport(const Eigen::VectorXd& eigenvalues, int64_t degrees) {
  const int64_t size = eigenvalues.size();
  const double cutoff = kRankTolerance * std::max(0.0, eigenvalues(size - 1));
  const int64_t above = (eigenvalues.array() > cutoff).count();
  const int64_t full = std::min(size, degrees);
  if (above < full) return {above, above};
  return {size, full};
}

Density KernelDensity(const Eigen::VectorXd& eigenvalues, double bandwidth) {
  const int64_t size = eigenvalues.size();
  const double root5 = std::sqrt(5.0);
  Density result{Eigen::VectorXd::Zero(size), Eigen::VectorXd::Zero(size)};
  for (int64_t j = 0; j < size; ++j) {
    const double width = bandwidth * eigenvalues(j);
    for (int64_t i = 0; i < size; ++i) {
      const double x = (eigenvalues(i) - eigenvalues(j)) / width;
      const double parabola = 1 - x * x / 5;
      result.density(i) += 0.75 / root5 * std::max(0.0, parabola) / width;
      result.hilbert(i) += KernelHilbertTransform(x) / width;
    }
  }
  result.density /= static_cast<double>(size);
  result.hilbert /= static_cast<double>(size);
  return result;
}

// Of the Epanechnikov kernel,
//   -3x/(10 pi) + 3/(4 sqrt5 pi) (1 - x^2/5) ln|(sqrt5 - x)/(sqrt5 + x)|.
// For large x, which an ill-conditioned covariance has (l_i/l_j of them), the two terms cancel until nothing is left
// but rounding error, of the size of x: the formula as published then shrinks the *largest* eigenvalues to almost zero.
// There by the series in u = sqrt5/x that the terms leave behind, -3/(sqrt5 pi) sum_k u^(2k+1) / ((2k+1)(2k+3)).
double KernelHilbertTransform(double x) {
  const double root5 = std::sqrt(5.0);
  if (std::abs(x) > 10) {
    const double u = root5 / x;
    double sum = 0;
    double power = u;
    for (int k = 0; k < 13; ++k, power *= u * u) sum += power / ((2 * k + 1) * (2 * k + 3));
    return -3 / (root5 * kPi) * sum;
  }
  const double linear = -0.3 / kPi * x;
  const double quotient = std::abs((root5 - x) / (root5 + x));
  // At the kernel's ends the logarithm's pole meets the parabola's zero.
  if (quotient == 0 || !std::isfinite(quotient)) return linear;
  return linear + 0.75 / (root5 * kPi) * (1 - x * x / 5) * std::log(quotient);
}

}  // namespace
}  // namespace gradoracle
