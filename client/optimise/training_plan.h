#ifndef GRADORACLE_CLIENT_OPTIMISE_TRAINING_PLAN_H_
#define GRADORACLE_CLIENT_OPTIMISE_TRAINING_PLAN_H_

#include <cstdint>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What each method of training does, and how many gradients it is predicted to need: arithmetic, no oracle.
namespace gradoracle {

enum class TrainingMethod { kSgd, kPreconditioned, kNewton, kMixed, kAuto };

absl::string_view TrainingMethodName(TrainingMethod method);  // "sgd", "preconditioned", "newton", "mixed", "auto"
// kInvalidArgument TRAINING_METHOD_UNKNOWN, listing the names.
absl::StatusOr<TrainingMethod> ParseTrainingMethod(absl::string_view name);

// w <- w - step_size P mean(k gradients), k growing with the gradients spent so that requests stay few.
struct TrainingRecipe {
  double curvature_per_dimension = 0;  // gradients for P, per dimension; 0: none, plain steps of step_size / lambda_max
  bool rule_level_only = false;        // one noise level, the oracle's rule, for curvature and steps
  double step_size = 1;
  int64_t smallest_step = 1;  // k >= this
  double growth = 0;          // k >= growth * gradients spent on steps so far

  int64_t StepCount(int64_t spent) const;
  int64_t CurvatureCount(int64_t dimension) const;
};

//   sgd             plain steps of 1/lambda_max, one gradient each, at the smallest noise level
//   preconditioned  P from 4d gradients, steps of .3 P, one gradient each, all at the oracle's rule
//   newton          P from 8d gradients, damped steps .7 P, averages of 16, 32, ... gradients, the smallest level
//   mixed           P from 4d gradients at the curvature level, steps of .3 P, 4 gradients each, the smallest level
//
// Step sizes and counts are those of estimators-on-real-data B; the damping .7 keeps |1 - .7 mu| < 1 for every
// eigenvalue mu of P H at m = 8d, which lie in .47 ... 2.1.
TrainingRecipe RecipeOf(TrainingMethod method);

// Information limit of any method that averages gradients with covariance `noise_over_batch` H (tau^2/n): d tau^2/(2 n
// e).
double FloorGradients(int64_t dimension, double noise_over_batch, double excess_risk);

// Gradients `mixed` needs from an excess risk of `initial` to `target`, curvature included: 4d + 1.25 floor + the steps
// that forget the start in the slowest direction, where P H is about .4.
double PredictMixed(int64_t dimension, double noise_over_batch, double initial, double target);

// Gradients plain SGD needs, with steps step_size and the average of the last half: exact recursion of the mean, no
// multiplicative noise [theory 5.5]. eigenvalues: of H, > 0; initial: excess risk in each of its eigen-directions at
// the start. Stops counting at 1e9.
double PredictSgd(const Eigen::VectorXd& eigenvalues, const Eigen::VectorXd& initial, double step_size,
                  double noise_over_batch, double target);

// Eigenvalues of a sample covariance of `count` vectors drawn towards their mean by OasIntensity (shrinkage.h), so that
// few vectors do not make small eigenvalues look like zero.
Eigen::VectorXd ShrunkEigenvalues(const Eigen::VectorXd& eigenvalues, int64_t count);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_OPTIMISE_TRAINING_PLAN_H_
