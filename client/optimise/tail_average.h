#ifndef GRADORACLE_CLIENT_OPTIMISE_TAIL_AVERAGE_H_
#define GRADORACLE_CLIENT_OPTIMISE_TAIL_AVERAGE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "Eigen/Core"
#include "client/estimation/preconditioner.h"

namespace gradoracle {

// Excess risk 1/2 (w - w*)'H(w - w*) of an average of iterates, told from the gradients met on the way.
struct ExcessRisk {
  std::optional<double> estimate;
  std::optional<double> upper;
  double level = 0.95;
};

// The average of the iterates of a gradient method, weighted by the gradients taken at each, and how good it is.
//
// The loss is quadratic: over any window of T gradients, with w_bar and g_bar the weighted means of iterates and
// gradients,
//   H (w_bar - w*) = g_bar - e_bar,      e_bar the mean noise, Cov(e_bar) = S/T, S the noise covariance of one
//   gradient.
// On a long window g_bar is small (it telescopes: g_bar = P^{-1}(w_first - w_last)/(steps * step size)), so that
//   excess risk = 1/2 g_bar'H^{-1}g_bar + tr(H^{-1}S)/(2T)        [the second term: Polyak-Juditsky, theory 5.5]
// without one gradient spent on looking. The limit takes the triangle inequality and the chi-square law of e_bar:
//   upper = 1/2 (sqrt(c g_bar'P g_bar) + sqrt(F_{r,f}(level) tr(PS)/T))^2,
// c = P.LargestUnderestimate(), F the quantile of the F distribution with r = rank of P and f, the degrees of freedom S
// was estimated with. The window starts where the estimate is least, never later than half of the way.
class TailAverage {
 public:
  explicit TailAverage(int64_t dimension);

  // One step: `count` gradients with mean `gradient` were taken at `weights`. `noise_form` is the sum of noise'P noise
  // with `degrees` degrees of freedom (gradients about their mean: count - 1).
  void Add(const Eigen::VectorXd& weights, const Eigen::VectorXd& gradient, int64_t count, double noise_form,
           double degrees);

  int64_t gradients() const { return total_.gradients; }

  struct Window {
    Eigen::VectorXd weights;   // w_bar
    Eigen::VectorXd gradient;  // g_bar
    int64_t gradients = 0;     // T
    ExcessRisk excess_risk;
  };
  // The best window under `inverse`, P ~ H^{-1}. `noise`: tr(PS) where the caller knows it, instead of what Add was
  // told; without either the excess risk is unset and the window is the last 85 % of the way. Requires gradients() > 0.
  Window Best(const Preconditioner* inverse, std::optional<double> noise, double level) const;

 private:
  // Sums from the first step up to some step.
  struct Sums {
    int64_t gradients = 0;
    int64_t steps = 0;
    double noise_form = 0;
    double degrees = 0;
    Eigen::VectorXd weights;
    Eigen::VectorXd gradient;
  };

  Sums total_;
  std::vector<Sums> starts_;  // candidates for a window's start, about 6 % apart
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_OPTIMISE_TAIL_AVERAGE_H_
