#include "client/optimise/training_plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/estimation/shrinkage.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr std::array<TrainingMethod, 5> kMethods = {TrainingMethod::kSgd, TrainingMethod::kPreconditioned,
                                                    TrainingMethod::kNewton, TrainingMethod::kMixed,
                                                    TrainingMethod::kAuto};
constexpr double kMostPredicted = 1e9;

}  // namespace

absl::string_view TrainingMethodName(TrainingMethod method) {
  switch (method) {
    case TrainingMethod::kSgd:
      return "sgd";
    case TrainingMethod::kPreconditioned:
      return "preconditioned";
    case TrainingMethod::kNewton:
      return "newton";
    case TrainingMethod::kMixed:
      return "mixed";
    case TrainingMethod::kAuto:
      return "auto";
  }
  return "unknown";
}

absl::StatusOr<TrainingMethod> ParseTrainingMethod(absl::string_view name) {
  for (const TrainingMethod method : kMethods) {
    if (name == TrainingMethodName(method)) return method;
  }
  return InvalidField(
      "TRAINING_METHOD_UNKNOWN", "method",
      absl::StrCat("method is `", name, "`, but must be one of sgd, preconditioned, newton, mixed, auto"));
}

int64_t TrainingRecipe::StepCount(int64_t spent) const {
  return std::max(smallest_step, static_cast<int64_t>(growth * static_cast<double>(spent)));
}

int64_t TrainingRecipe::CurvatureCount(int64_t dimension) const {
  if (curvature_per_dimension == 0) return 0;
  // At small d a multiple of d is hardly more than d + 3, the least that can be inverted.
  return std::max(static_cast<int64_t>(curvature_per_dimension * static_cast<double>(dimension)), dimension + 12);
}

TrainingRecipe RecipeOf(TrainingMethod method) {
  TrainingRecipe recipe;
  switch (method) {
    case TrainingMethod::kSgd:
      recipe.growth = 1.0 / 65536;
      break;
    case TrainingMethod::kPreconditioned:
      recipe.curvature_per_dimension = 4;
      recipe.rule_level_only = true;
      recipe.step_size = 0.3;
      recipe.growth = 1.0 / 1024;
      break;
    case TrainingMethod::kNewton:
      recipe.curvature_per_dimension = 8;
      recipe.step_size = 0.7;
      recipe.smallest_step = 16;
      recipe.growth = 1;
      break;
    case TrainingMethod::kMixed:
    case TrainingMethod::kAuto:
      recipe.curvature_per_dimension = 4;
      recipe.step_size = 0.3;
      recipe.smallest_step = 4;
      recipe.growth = 1.0 / 256;
      break;
  }
  return recipe;
}

double FloorGradients(int64_t dimension, double noise_over_batch, double excess_risk) {
  return static_cast<double>(dimension) * noise_over_batch / (2 * excess_risk);
}

double PredictMixed(int64_t dimension, double noise_over_batch, double initial, double target) {
  const TrainingRecipe recipe = RecipeOf(TrainingMethod::kMixed);
  const double rate = -2 * std::log(1 - recipe.step_size * 0.4);
  const double steps = std::max(4.0, std::log(std::max(1.0, 2 * initial / target)) / rate);
  return static_cast<double>(recipe.CurvatureCount(dimension)) + static_cast<double>(recipe.smallest_step) * steps +
         1.25 * FloorGradients(dimension, noise_over_batch, target);
}

double PredictSgd(const Eigen::VectorXd& eigenvalues, const Eigen::VectorXd& initial, double step_size,
                  double noise_over_batch, double target) {
  const double dimension = static_cast<double>(eigenvalues.size());
  for (double count = 4; count < kMostPredicted; count *= 1.1) {
    const double half = count / 2;
    // Mean over the last half of (1 - s lambda)^t, for every direction.
    double excess = dimension * noise_over_batch / (2 * half);
    for (int64_t j = 0; j < eigenvalues.size(); ++j) {
      const double rate = std::clamp(step_size * eigenvalues(j), 1e-12, 0.999999);
      const double decay = std::exp(half * std::log1p(-rate));
      const double mean = decay * (1 - decay) / (rate * half);
      excess += initial(j) * mean * mean;
    }
    if (excess <= target) return count;
  }
  return kMostPredicted;
}

Eigen::VectorXd ShrunkEigenvalues(const Eigen::VectorXd& eigenvalues, int64_t count) {
  const double intensity = OasIntensity(Eigen::MatrixXd(eigenvalues.asDiagonal()), count);
  return ((1 - intensity) * eigenvalues.array() + intensity * eigenvalues.mean()).max(0.0);
}

}  // namespace gradoracle
