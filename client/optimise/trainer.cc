#include "client/optimise/trainer.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/hessian_form.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kCovarianceBlock = 64;
constexpr int64_t kPilotOfSgd = 32;
constexpr int64_t kMeanOfPilot = 16;
constexpr double kSgdAdvantage = 2;
constexpr double kDefaultTarget = 1e-3;
constexpr double kDefaultCountPerDimension = 100;
constexpr int kMostDivergences = 14;
constexpr int64_t kLargestCautiousStep = 64;
constexpr size_t kDivergenceWindow = 5;
constexpr double kDivergenceFactor = 8;
constexpr double kExplosionFactor = 64;
constexpr int kMostBounces = 5;
constexpr double kDrowningNoise = 50;
constexpr int64_t kLargestStepDoubles = int64_t{8} << 20;  // 64 MiB
constexpr double kCautiousShare = 0.75;
constexpr double kEvaluationSpacing = 1.05;
constexpr int64_t kFewestSteps = 8;  // before the average is believed

absl::Status CheckOptions(const TrainingOptions& options, int64_t dimension);
absl::Status Positive(absl::string_view reason, absl::string_view field, double value);
Eigen::MatrixXd Covariance(const StreamingCovariance& gathered);
double LargestEigenvalue(const StreamingCovariance& gathered, bool unit_diagonal);
Eigen::VectorXd InBall(const Eigen::VectorXd& weights, double radius);

// Sum of noise'P noise over `degrees` degrees of freedom, from the gradients of one step about their mean; of a single
// gradient, from its difference to the one before, which at short steps is noise too.
struct Noise {
  double form = 0;
  double degrees = 0;
};
Noise NoiseOf(const RowMajorMatrix& gradients, const Eigen::VectorXd& mean, const Eigen::VectorXd& previous,
              const Preconditioner& inverse);

// Tells growth that noise does not explain: the median of the last five gradient forms against the largest of the
// first five (a median, because single gradients of rare one-hot features are large anyway), or an explosion among the
// first five.
class DivergenceWatch {
 public:
  // A step that would leave the ball of allowed weights, by a gradient opposite to the last: too long a step bounces
  // from end to end of the ball, and its gradients, as long as they can be from the second on, grow no more. (An
  // optimum outside holds the weights at the ball's end too, but by gradients that keep their direction.)
  bool Bounces(bool bounced) {
    bounces_ = bounced ? bounces_ + 1 : 0;
    return bounces_ >= kMostBounces;
  }

  bool Diverges(double form) {
    if (!std::isfinite(form)) return true;
    if (first_.size() < kDivergenceWindow) {
      first_.push_back(form);
      return first_.size() == kDivergenceWindow && form > kExplosionFactor * std::max(first_[0], first_[1]);
    }
    last_.push_back(form);
    if (last_.size() > kDivergenceWindow) last_.pop_front();
    if (last_.size() < kDivergenceWindow) return false;
    std::vector<double> sorted(last_.begin(), last_.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted[kDivergenceWindow / 2] > kDivergenceFactor * *std::max_element(first_.begin(), first_.end());
  }

 private:
  int bounces_ = 0;
  std::vector<double> first_;
  std::deque<double> last_;
};

}  // namespace

absl::StatusOr<Trainer> Trainer::Create(std::vector<NamedOracle> oracles, TrainingOptions options) {
  GRADORACLE_ASSIGN_OR_RETURN(PooledOracles pooled, PooledOracles::Create(std::move(oracles)));
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(options, pooled.dimension()));
  if (options.total_noise_variance.has_value()) {
    GRADORACLE_RETURN_IF_ERROR(pooled.CheckTotalNoiseVariance(options.batch_size, *options.total_noise_variance));
  }
  // Two covariances, one of them for curvature.
  GRADORACLE_RETURN_IF_ERROR(CheckBytes(pooled.dimension(),
                                        2 * EstimateMemory(HessianForm::kDense, pooled.dimension(), 0, 1),
                                        "training with its curvature"));
  return Trainer(std::move(pooled), std::move(options));
}

Trainer::Trainer(PooledOracles oracles, TrainingOptions options)
    : oracles_(std::move(oracles)),
      options_(std::move(options)),
      target_(options_.target_excess_risk),
      curvature_(oracles_.dimension(), kCovarianceBlock),
      octave_(oracles_.dimension(), kCovarianceBlock) {
  if (!options_.start.has_value()) options_.start = Eigen::VectorXd::Zero(oracles_.dimension());
  result_.weights = *options_.start;
  result_.method = options_.method;
  result_.warning = oracles_.warning();
}

absl::Status Trainer::Run() {
  const int64_t dimension = oracles_.dimension();
  if (!target_.has_value() && !options_.count.has_value()) {
    if (oracles_.standardised_units()) {
      target_ = kDefaultTarget;
    } else {
      options_.count =
          static_cast<int64_t>(kDefaultCountPerDimension * static_cast<double>(dimension)) * oracles_.oracle_count();
    }
  }
  if (options_.count.has_value()) {
    most_gradients_ = *options_.count;
  } else {
    const double noise = oracles_.NoiseOverBatch(options_.batch_size, PooledOracles::Level::kSmallest, 1);
    const double most = 20 * FloorGradients(dimension, noise, *target_) + 20 * static_cast<double>(dimension) + 20000;
    most_gradients_ = static_cast<int64_t>(std::min(most, 1e12)) * oracles_.oracle_count();
  }
  absl::Status status = [&]() -> absl::Status {
    if (options_.method == TrainingMethod::kAuto) GRADORACLE_RETURN_IF_ERROR(ChooseMethod());
    recipe_ = RecipeOf(result_.method);
    if (recipe_.curvature_per_dimension > 0) {
      GRADORACLE_RETURN_IF_ERROR(MeasureCurvature());
    } else {
      GRADORACLE_RETURN_IF_ERROR(ChooseStepOfSgd());
    }
    return Descend();
  }();
  result_.gradients = oracles_.gradients();
  if (Interrupted(status) && result_.steps > 0) {
    result_.stop = TrainingStop::kInterrupted;
    return absl::OkStatus();
  }
  return status;
}

// A pilot of few curvature gradients tells the spectrum, a few low-noise gradients how the start's excess risk lies in
// it; then both methods' counts are arithmetic. The pilot is not wasted: either method goes on from it.
absl::Status Trainer::ChooseMethod() {
  const int64_t dimension = oracles_.dimension();
  const int64_t full = RecipeOf(TrainingMethod::kMixed).CurvatureCount(dimension);
  const int64_t affordable = Affordable();
  const double curvature_price = static_cast<double>(full + 40);
  if (static_cast<double>(affordable) < curvature_price) {
    result_.method = TrainingMethod::kSgd;
    result_.reason = absl::StrFormat("sgd: %d gradients do not pay for a curvature of %d", affordable, full);
    return absl::OkStatus();
  }
  GRADORACLE_RETURN_IF_ERROR(GatherCurvature(std::clamp<int64_t>(dimension / 2, 16, full)));
  StreamingCovariance first(dimension, kCovarianceBlock);
  GRADORACLE_RETURN_IF_ERROR(
      oracles_.Gradients(*options_.start, options_.batch_size, kMeanOfPilot, PooledOracles::Level::kSmallest,
                         [&](const Eigen::Ref<const RowMajorMatrix>& block) { return first.Add(block); }));

  Eigen::MatrixXd hessian = Covariance(curvature_);
  if (oracles_.unit_diagonal()) hessian *= static_cast<double>(dimension) / std::max(hessian.trace(), 1e-300);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(hessian);
  const Eigen::VectorXd eigenvalues = ShrunkEigenvalues(solver.eigenvalues().cwiseMax(0), curvature_.count());
  const double noise = Covariance(first).trace() / std::max(hessian.trace(), 1e-300);
  Eigen::VectorXd initial =
      (solver.eigenvectors().transpose() * first.Mean()).array().square() / eigenvalues.array().max(1e-300) / 2;
  initial = (initial.array() - noise / (2 * static_cast<double>(kMeanOfPilot))).max(0.0);
  // From zero on standardised data the excess risk is half of R^2 at most.
  if (oracles_.unit_diagonal() && options_.start->isZero() && initial.sum() > 0.5) initial *= 0.5 / initial.sum();
  const double target = target_.has_value()
                            ? *target_
                            : 1.25 * static_cast<double>(dimension) * noise /
                                  (2 * std::max(1.0, static_cast<double>(affordable) - curvature_price));
  const double mixed = PredictMixed(dimension, noise, initial.sum(), target);
  const double sgd = PredictSgd(eigenvalues, initial, 1 / eigenvalues.maxCoeff(), noise, target) +
                     static_cast<double>(curvature_.count());
  // The prediction for sgd knows nothing of rows of great leverage, which force shorter steps: it must win clearly.
  result_.method = kSgdAdvantage * sgd < mixed ? TrainingMethod::kSgd : TrainingMethod::kMixed;
  result_.reason = absl::StrFormat(
      "%s: to an excess risk of %.2g, sgd is predicted to need about %.2g gradients, mixed %.2g, %d of them for "
      "curvature",
      std::string(TrainingMethodName(result_.method)), target, sgd, mixed, full);
  return absl::OkStatus();
}

absl::Status Trainer::MeasureCurvature() {
  const int64_t wanted = recipe_.CurvatureCount(oracles_.dimension());
  if (Affordable() + curvature_.count() <= wanted) {
    return FieldOutOfRange(
        "COUNT_TOO_SMALL", "count",
        absl::StrCat("count is ", most_gradients_, ", but the method ", TrainingMethodName(result_.method), " spends ",
                     wanted * oracles_.oracle_count(),
                     " gradients on curvature before its first step; give more, or use --method sgd"));
  }
  GRADORACLE_RETURN_IF_ERROR(GatherCurvature(wanted - curvature_.count()));
  Preconditioner::Options options;
  options.unit_diagonal = oracles_.unit_diagonal();
  GRADORACLE_ASSIGN_OR_RETURN(steps_by_,
                              Preconditioner::FromHessian(Covariance(curvature_), curvature_.count(), options));
  step_size_ = options_.step_size.value_or(recipe_.step_size);
  return absl::OkStatus();
}

absl::Status Trainer::ChooseStepOfSgd() {
  if (options_.step_size.has_value()) {
    step_size_ = *options_.step_size;
    return absl::OkStatus();
  }
  // The top eigenvalue of few gradients is too large rather than too small: the careful side.
  if (curvature_.count() < 2) {
    if (Affordable() < 3) {
      return FieldOutOfRange("COUNT_TOO_SMALL", "count",
                             absl::StrCat("count is ", most_gradients_,
                                          ", but the step size alone takes 2 gradients of each oracle; give more, or "
                                          "--step-size"));
    }
    GRADORACLE_RETURN_IF_ERROR(GatherCurvature(std::clamp<int64_t>(Affordable() / 4, 2, kPilotOfSgd)));
  }
  const double largest = LargestEigenvalue(curvature_, oracles_.unit_diagonal());
  if (!(largest > 0)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "HESSIAN_ZERO", "hessian",
                     "hessian: the gradients do not vary at all, so that no step size follows; give --step-size");
  }
  step_size_ = recipe_.step_size / largest;
  return absl::OkStatus();
}

absl::Status Trainer::GatherCurvature(int64_t count) {
  if (count <= 0) return absl::OkStatus();
  const auto level =
      recipe_.rule_level_only ? PooledOracles::CurvatureLevel::kRule : PooledOracles::CurvatureLevel::kBest;
  const int64_t before = oracles_.gradients();
  absl::Status status =
      oracles_.Curvature(*options_.start, options_.batch_size, count, level, options_.total_noise_variance,
                         [&](const Eigen::Ref<const RowMajorMatrix>& block) { return curvature_.Add(block); });
  result_.curvature_gradients += oracles_.gradients() - before;
  return status;
}

absl::Status Trainer::Descend() {
  for (;;) {
    GRADORACLE_ASSIGN_OR_RETURN(const bool diverged, TryDescent());
    if (!diverged) return absl::OkStatus();
    ++divergences_;
    if (divergences_ >= kMostDivergences) {
      result_.stop = TrainingStop::kDiverged;
      result_.weights = *options_.start;
      result_.excess_risk = {};
      return absl::OkStatus();
    }
    // Nothing that was learnt while diverging is to be believed, or returned.
    result_.weights = *options_.start;
    result_.excess_risk = {};
    result_.gradient_norm = 0;
    metric_.reset();
    metric_noise_.reset();
    GRADORACLE_RETURN_IF_ERROR(BecomeMoreCareful());
  }
}

absl::StatusOr<bool> Trainer::TryDescent() {
  const int64_t dimension = oracles_.dimension();
  const auto level = recipe_.rule_level_only ? PooledOracles::Level::kRule : PooledOracles::Level::kSmallest;
  const Preconditioner inverse = steps_by_.value_or(Preconditioner::Scaled(dimension, 1));
  Eigen::VectorXd weights = *options_.start;
  Eigen::VectorXd previous;  // mean gradient of the last step
  RowMajorMatrix gradients;
  TailAverage average(dimension);
  DivergenceWatch divergence;
  double next_evaluation = 0;
  // Heavy-tailed residuals make a measured noise too small more often than too large.
  const double share = NoiseIsInjected() ? 1 : kCautiousShare;
  octave_ = StreamingCovariance(dimension, kCovarianceBlock);
  octave_end_ = 2 * RecipeOf(TrainingMethod::kMixed).CurvatureCount(dimension);
  for (int64_t steps = 1;; ++steps) {
    const int64_t taken = average.gradients();
    // A step is held in memory whole.
    const int64_t most = std::max<int64_t>(recipe_.smallest_step, kLargestStepDoubles / dimension);
    const int64_t count = std::min({recipe_.StepCount(taken), most, Affordable()});
    if (count < 1) {
      if (taken > 0) Evaluate(average);
      result_.stop = TrainingStop::kCountSpent;
      return false;
    }
    gradients.resize(count, dimension);
    int64_t row = 0;
    GRADORACLE_RETURN_IF_ERROR(oracles_.Gradients(weights, options_.batch_size, count, level,
                                                  [&](const Eigen::Ref<const RowMajorMatrix>& block) {
                                                    gradients.middleRows(row, block.rows()) = block;
                                                    row += block.rows();
                                                    return absl::OkStatus();
                                                  }));
    const Eigen::VectorXd mean = gradients.colwise().mean().transpose();
    if (divergence.Diverges(inverse.QuadraticForm(mean))) return true;
    const Eigen::VectorXd next = weights - step_size_ * inverse.Apply(mean);
    const bool leaves = !(next.norm() <= oracles_.max_weights_norm());
    if (divergence.Bounces(leaves && previous.size() > 0 && mean.dot(previous) < 0)) return true;
    const Noise noise = steps_by_.has_value() ? NoiseOf(gradients, mean, previous, inverse) : Noise{};
    average.Add(weights, mean, count, noise.form, noise.degrees);
    previous = mean;
    ++result_.steps;
    if (!steps_by_.has_value()) LearnMetric(gradients, average.gradients());

    weights = InBall(next, oracles_.max_weights_norm());
    if (static_cast<double>(average.gradients()) < next_evaluation) continue;
    next_evaluation = kEvaluationSpacing * static_cast<double>(average.gradients());
    Evaluate(average);
    if (options_.watch && !options_.watch(result_.record.back(), result_.weights)) {
      result_.stop = TrainingStop::kInterrupted;
      return false;
    }
    if (target_.has_value() && steps >= kFewestSteps && result_.excess_risk.estimate.has_value() &&
        *result_.excess_risk.estimate <= share * *target_) {
      result_.stop = TrainingStop::kTargetReached;
      return false;
    }
  }
}

// Rows of great leverage make single gradients overshoot. Averaging four times as many costs no more than a step a
// quarter as long, and forgets the start as fast; after that only shorter steps are left. `auto` goes over to plain
// sgd, whose steps do not grow where the curvature missed such rows.
absl::Status Trainer::BecomeMoreCareful() {
  if (options_.method == TrainingMethod::kAuto && result_.method == TrainingMethod::kMixed) {
    result_.method = TrainingMethod::kSgd;
    absl::StrAppend(&result_.reason, "; mixed diverged (rows of great leverage), so sgd went on");
    recipe_ = RecipeOf(TrainingMethod::kSgd);
    steps_by_.reset();
    GRADORACLE_RETURN_IF_ERROR(ChooseStepOfSgd());
  } else if (steps_by_.has_value() && recipe_.smallest_step < kLargestCautiousStep) {
    recipe_.smallest_step *= 4;
  } else {
    step_size_ /= 2;
  }
  result_.warning = oracles_.warning();
  if (!result_.warning.empty()) result_.warning += "; ";
  absl::StrAppendFormat(
      &result_.warning,
      "the gradients grew instead of shrinking, %d time%s: started again each time, at last with steps of %d gradients "
      "and size %.3g",
      divergences_, divergences_ == 1 ? "" : "s", recipe_.smallest_step, step_size_);
  return absl::OkStatus();
}

void Trainer::Evaluate(const TailAverage& average) {
  const Preconditioner* inverse = steps_by_.has_value() ? &*steps_by_ : metric_.has_value() ? &*metric_ : nullptr;
  TailAverage::Window window =
      average.Best(inverse, steps_by_.has_value() ? std::nullopt : metric_noise_, options_.level);
  result_.gradients = oracles_.gradients();
  result_.weights = InBall(window.weights, oracles_.max_weights_norm());
  result_.gradient_norm = window.gradient.norm();
  result_.excess_risk = window.excess_risk;
  // sgd's own gradients make a metric good enough for a figure, not for a limit: on Gaussian data of condition 1e5 at
  // little noise the limit never held, and why is not known.
  if (!steps_by_.has_value()) {
    WidenForSignal(result_.excess_risk);
    result_.excess_risk.upper.reset();
  }
  result_.record.push_back({result_.steps, result_.gradients, result_.gradient_norm, step_size_, result_.excess_risk});
}

// Near the optimum the covariance of sgd's own gradients is (tau^2/n) H: an inverse for judging, at no price. Of
// several oracles it is not (their shares enter squared).
void Trainer::LearnMetric(const Eigen::Ref<const RowMajorMatrix>& gradients, int64_t taken) {
  if (oracles_.oracle_count() > 1 || !octave_.Add(gradients).ok()) return;
  if (taken < octave_end_) return;
  octave_end_ = 2 * taken;
  const double unknown = options_.total_noise_variance.value_or(0);
  const double noise = oracles_.NoiseOverBatch(options_.batch_size, PooledOracles::Level::kSmallest, unknown);
  const Eigen::MatrixXd covariance = Covariance(octave_);
  Preconditioner::Options options;
  options.unit_diagonal = oracles_.unit_diagonal();
  if (options.unit_diagonal || noise > 0) {
    absl::StatusOr<Preconditioner> inverse = Preconditioner::FromHessian(
        options.unit_diagonal ? covariance : Eigen::MatrixXd(covariance / noise), octave_.count(), options);
    if (inverse.ok()) {
      metric_ = *std::move(inverse);
      metric_noise_ = noise > 0 ? noise * static_cast<double>(metric_->rank()) : metric_->TraceOfProduct(covariance);
    }
  }
  octave_ = StreamingCovariance(oracles_.dimension(), kCovarianceBlock);
}

// Injected, hence Gaussian, noise drowns the residuals' own, whose variance is at most 1 in standardised units.
bool Trainer::NoiseIsInjected() const {
  const auto level = recipe_.rule_level_only ? PooledOracles::Level::kRule : PooledOracles::Level::kSmallest;
  const double total =
      oracles_.NoiseOverBatch(options_.batch_size, level, 0) * static_cast<double>(options_.batch_size);
  return oracles_.unit_diagonal() && total >= kDrowningNoise;
}

// Away from the optimum the covariance is (tau^2 + q)/n H, q = 2 excess risk [theory 1.1], so that the metric is too
// small by 1 + q/tau^2: solved for the excess risk, and given up where q > tau^2. A known diagonal fixes the scale
// anyway.
void Trainer::WidenForSignal(ExcessRisk& risk) const {
  if (oracles_.unit_diagonal() || !risk.estimate.has_value()) return;
  const double unknown = options_.total_noise_variance.value_or(0);
  const double total = static_cast<double>(options_.batch_size) *
                       oracles_.NoiseOverBatch(options_.batch_size, PooledOracles::Level::kSmallest, unknown);
  const double shrunk = 1 - 2 * *risk.estimate / total;
  if (shrunk < 0.5) {
    risk.estimate.reset();
    return;
  }
  risk.estimate = *risk.estimate / shrunk;
}

bool Trainer::Interrupted(const absl::Status& status) const { return status.code() == absl::StatusCode::kCancelled; }

int64_t Trainer::Affordable() const {
  return std::max<int64_t>(0, (most_gradients_ - oracles_.gradients()) / oracles_.oracle_count());
}

namespace {

absl::Status CheckOptions(const TrainingOptions& options, int64_t dimension) {
  if (options.batch_size < 1) {
    return InvalidField("BATCH_SIZE_NOT_POSITIVE", "batch_size",
                        absl::StrCat("batch_size is ", options.batch_size, ", but must be at least 1"));
  }
  if (options.count.has_value() && *options.count < 1) {
    return InvalidField("COUNT_NOT_POSITIVE", "count",
                        absl::StrCat("count is ", *options.count, ", but must be at least 1"));
  }
  GRADORACLE_RETURN_IF_ERROR(
      Positive("TARGET_EXCESS_RISK_NOT_POSITIVE", "target_excess_risk", options.target_excess_risk.value_or(1)));
  GRADORACLE_RETURN_IF_ERROR(Positive("STEP_SIZE_NOT_POSITIVE", "step_size", options.step_size.value_or(1)));
  GRADORACLE_RETURN_IF_ERROR(
      Positive("TOTAL_NOISE_VARIANCE_NOT_POSITIVE", "total_noise_variance", options.total_noise_variance.value_or(1)));
  if (!(options.level > 0.5 && options.level < 1)) {
    return InvalidField("LEVEL_OUT_OF_RANGE", "level",
                        absl::StrCat("level is ", options.level, ", but must be above 0.5 and below 1"));
  }
  if (options.start.has_value() && options.start->size() != dimension) {
    return InvalidField("WEIGHTS_DIMENSION", "weights",
                        absl::StrCat("weights have ", options.start->size(), " entries, but must have ", dimension));
  }
  return absl::OkStatus();
}

absl::Status Positive(absl::string_view reason, absl::string_view field, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return InvalidField(reason, field, absl::StrCat(field, " is ", value, ", but must be finite and positive"));
}

Eigen::MatrixXd Covariance(const StreamingCovariance& gathered) {
  return gathered.Scatter() / static_cast<double>(std::max<int64_t>(1, gathered.count() - 1));
}

double LargestEigenvalue(const StreamingCovariance& gathered, bool unit_diagonal) {
  const Eigen::MatrixXd covariance = Covariance(gathered);
  const double largest =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(covariance, Eigen::EigenvaluesOnly).eigenvalues().maxCoeff();
  if (!unit_diagonal || !(covariance.trace() > 0)) return largest;
  return largest * static_cast<double>(covariance.rows()) / covariance.trace();
}

Noise NoiseOf(const RowMajorMatrix& gradients, const Eigen::VectorXd& mean, const Eigen::VectorXd& previous,
              const Preconditioner& inverse) {
  if (gradients.rows() == 1 && previous.size() == 0) return {};
  if (gradients.rows() == 1) return {0.5 * inverse.QuadraticForm(mean - previous), 1};
  Noise noise;
  for (int64_t k = 0; k < gradients.rows(); ++k) {
    noise.form += inverse.QuadraticForm(gradients.row(k).transpose() - mean);
  }
  noise.degrees = static_cast<double>(gradients.rows() - 1);
  return noise;
}

Eigen::VectorXd InBall(const Eigen::VectorXd& weights, double radius) {
  const double norm = weights.norm();
  if (!(norm > radius)) return weights;
  return weights * (radius / norm);
}

}  // namespace
}  // namespace gradoracle
