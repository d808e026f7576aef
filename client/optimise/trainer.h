#ifndef GRADORACLE_CLIENT_OPTIMISE_TRAINER_H_
#define GRADORACLE_CLIENT_OPTIMISE_TRAINER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/estimation/preconditioner.h"
#include "client/estimation/streaming_covariance.h"
#include "client/optimise/pooled_oracles.h"
#include "client/optimise/tail_average.h"
#include "client/optimise/training_plan.h"

namespace gradoracle {

// Least squares from gradients alone, from one oracle or from several holding their own rows: the minimiser of the loss
// over all rows. Counts of gradients are over all oracles: one pooled gradient of K oracles counts K.
//
//   absl::StatusOr<Trainer> trainer = Trainer::Create({{"a", &source}}, {.batch_size = 512});
//
//   absl::Status status = trainer->Run();
//
//   trainer->result().weights, trainer->result().excess_risk.upper

struct TrainingPoint {
  int64_t steps = 0;
  int64_t gradients = 0;     // so far, curvature included
  double gradient_norm = 0;  // of the mean gradient of the average's window
  double step_size = 0;
  ExcessRisk excess_risk;
};

enum class TrainingStop {
  kNone,           // not run, or ended by an error
  kTargetReached,  // estimate <= target; <= 3/4 of it unless injected noise prevails
  kCountSpent,     // the count, or the cap that stands for it, is spent
  kInterrupted,    // watch() said so, or the source was cancelled
  kDiverged,       // thirteen more careful starts did not help
};

struct TrainingResult {
  TrainingMethod method = TrainingMethod::kAuto;  // the one that ran
  std::string reason;                             // of `auto`: why that one, in one line; else empty
  std::string warning;                            // restarts, oracles that seem the same; empty: none
  TrainingStop stop = TrainingStop::kNone;
  Eigen::VectorXd weights;  // the average's; the start when no step was taken
  int64_t steps = 0;
  int64_t gradients = 0;
  int64_t curvature_gradients = 0;  // of these, for curvature
  double gradient_norm = 0;
  // Unset where nothing is known to measure it with (sgd that took fewer than 4d gradients, or in raw units with an
  // unknown noise variance).
  ExcessRisk excess_risk;
  std::vector<TrainingPoint> record;  // about 5 % apart
};

struct TrainingOptions {
  TrainingMethod method = TrainingMethod::kAuto;
  int64_t batch_size = 0;  // n
  // Stop when the estimate of the excess risk is at most this, > 0. Unset with an unset count: 1e-3 in standardised
  // units; 100 d gradients in raw ones.
  std::optional<double> target_excess_risk;
  // Most gradients to ask for. Unset: 20 floor + 20 d + 20000, so that a target out of reach ends too.
  std::optional<int64_t> count;
  // Of the steps, in place of the recipe's: of P for methods with curvature, absolute for sgd.
  std::optional<double> step_size;
  std::optional<double> total_noise_variance;  // tau^2 where the oracle does not tell it
  std::optional<Eigen::VectorXd> start;        // zeros
  double level = 0.95;                         // of excess_risk.upper, in (0.5, 1)
  // Called about every 5 % of gradients; false stops. `average`: the weights that would be the result.
  std::function<bool(const TrainingPoint& point, const Eigen::VectorXd& average)> watch;
};

// Not thread-safe.
class Trainer {
 public:
  // Errors: those of PooledOracles::Create; kInvalidArgument BATCH_SIZE_NOT_POSITIVE, TARGET_EXCESS_RISK_NOT_POSITIVE,
  // COUNT_NOT_POSITIVE, STEP_SIZE_NOT_POSITIVE, LEVEL_OUT_OF_RANGE, WEIGHTS_DIMENSION,
  // TOTAL_NOISE_VARIANCE_CONTRADICTS; COUNT_TOO_SMALL when the count
  // does not pay for the method's curvature.
  static absl::StatusOr<Trainer> Create(std::vector<NamedOracle> oracles, TrainingOptions options);

  // Trains. On an error result() holds what was reached until then. Errors: those of the sources;
  // TOTAL_NOISE_VARIANCE_UNKNOWN; those of Preconditioner::FromHessian.
  absl::Status Run();

  const TrainingResult& result() const { return result_; }

 private:
  Trainer(PooledOracles oracles, TrainingOptions options);

  absl::Status ChooseMethod();
  absl::Status MeasureCurvature();
  absl::Status ChooseStepOfSgd();
  absl::Status Descend();
  absl::StatusOr<bool> TryDescent();  // from the start; true: it diverged
  absl::Status BecomeMoreCareful();
  absl::Status GatherCurvature(int64_t count);
  void Evaluate(const TailAverage& average);
  void LearnMetric(const Eigen::Ref<const RowMajorMatrix>& gradients, int64_t taken);
  bool NoiseIsInjected() const;
  void WidenForSignal(ExcessRisk& risk) const;
  bool Interrupted(const absl::Status& status) const;
  int64_t Affordable() const;  // pooled gradients left

  PooledOracles oracles_;
  TrainingOptions options_;
  TrainingResult result_;
  TrainingRecipe recipe_;
  int64_t most_gradients_ = 0;
  double step_size_ = 0;
  int divergences_ = 0;
  std::optional<double> target_;
  StreamingCovariance curvature_;           // gathered at the start, for P
  std::optional<Preconditioner> steps_by_;  // P of the steps
  // sgd's inverse Hessian, for judging only: from its own gradients of the last completed octave.
  StreamingCovariance octave_;
  int64_t octave_end_ = 0;
  std::optional<Preconditioner> metric_;
  std::optional<double> metric_noise_;  // tr(PS) of that octave
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_OPTIMISE_TRAINER_H_
