#include "client/optimise/tail_average.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "boost/math/distributions/fisher_f.hpp"

namespace gradoracle {
namespace {

constexpr double kSpacing = 1.06;
constexpr int64_t kFewestSteps = 4;  // a window of fewer says nothing about itself

}  // namespace

TailAverage::TailAverage(int64_t dimension) {
  total_.weights.setZero(dimension);
  total_.gradient.setZero(dimension);
  starts_.push_back(total_);
}

void TailAverage::Add(const Eigen::VectorXd& weights, const Eigen::VectorXd& gradient, int64_t count, double noise_form,
                      double degrees) {
  total_.gradients += count;
  total_.steps += 1;
  total_.noise_form += noise_form;
  total_.degrees += degrees;
  total_.weights += static_cast<double>(count) * weights;
  total_.gradient += static_cast<double>(count) * gradient;
  if (static_cast<double>(total_.gradients) >= kSpacing * static_cast<double>(starts_.back().gradients)) {
    starts_.push_back(total_);
  }
}

TailAverage::Window TailAverage::Best(const Preconditioner* inverse, std::optional<double> noise, double level) const {
  Window best;
  best.excess_risk.level = level;
  double least = std::numeric_limits<double>::infinity();
  const bool judged = inverse != nullptr && (noise.has_value() || total_.degrees > 0);
  // tr(PS): the noise hardly depends on where it was met, so that all of it is used, whatever the window.
  const double trace = noise.has_value() ? *noise : total_.noise_form / std::max(total_.degrees, 1.0);
  for (const Sums& start : starts_) {
    const int64_t gradients = total_.gradients - start.gradients;
    const bool long_enough = 2 * start.gradients <= total_.gradients && total_.steps - start.steps >= kFewestSteps;
    if (start.gradients > 0 && !long_enough) break;
    const double scale = 1 / static_cast<double>(gradients);
    const Eigen::VectorXd gradient = scale * (total_.gradient - start.gradient);
    if (!judged) {
      if (static_cast<double>(start.gradients) > 0.15 * static_cast<double>(total_.gradients)) break;
      best.weights = scale * (total_.weights - start.weights);
      best.gradient = gradient;
      best.gradients = gradients;
      continue;
    }
    const double drift = inverse->QuadraticForm(gradient);
    const double estimate = 0.5 * drift + 0.5 * trace * scale;
    if (estimate >= least) continue;
    least = estimate;
    best.weights = scale * (total_.weights - start.weights);
    best.gradient = gradient;
    best.gradients = gradients;
    best.excess_risk.estimate = estimate;
    const double rank = static_cast<double>(inverse->rank());
    // Degrees of freedom of the trace: each of the `degrees` noise vectors brings r of them. A known trace: many.
    const double degrees = noise.has_value() ? 1e6 : std::max(1.0, total_.degrees * rank);
    const double quantile = boost::math::quantile(boost::math::fisher_f(rank, degrees), level);
    const double root = std::sqrt(inverse->LargestUnderestimate() * drift) + std::sqrt(quantile * trace * scale);
    best.excess_risk.upper = 0.5 * root * root;
  }
  return best;
}

}  // namespace gradoracle
