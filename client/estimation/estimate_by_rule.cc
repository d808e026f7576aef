#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/active_design.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/noise_level.h"
#include "client/estimation/warm_up.h"
#include "core/status_macros.h"

// The rule of `auto`, step by step as measured on real data [estimators on real data, "The auto rule"].
namespace gradoracle {
namespace {

constexpr int64_t kPilot = 128;
constexpr int64_t kFewestForPilot = 4 * kPilot;
constexpr int64_t kLargestDesignPilot = 1024;
constexpr double kSmallestRadius = 10;  // R^2 tr H/d in units of n
constexpr double kSmallExcess = 0.15;

// What is known before the decision.
struct Evidence {
  double excess = 0;  // e0 = n tr C / (tau^2 tr H) - 1 at the weights given; 0 where tr H is not known
  bool trace_known = false;
  std::optional<double> rho;  // error of `active` over that of a covariance near the optimum; unset: no designs
};

double CovarianceTrace(const RowMajorMatrix& gradients) {
  const Eigen::RowVectorXd mean = gradients.colwise().mean();
  return (gradients.rowwise() - mean).squaredNorm() / static_cast<double>(gradients.rows() - 1);
}

bool LargeNoiseOffered(const EstimationRun& run) {
  return run.info.noise.curvature_probe || LargeNoise(run.info.noise, run.options.batch_size).has_value();
}

absl::StatusOr<HessianEstimate> WithReason(absl::StatusOr<HessianEstimate> estimate, const std::string& reason) {
  if (!estimate.ok()) return estimate;
  estimate->reason = estimate->reason.empty() ? reason : absl::StrCat(reason, "; ", estimate->reason);
  return estimate;
}

// A first look at a point.
struct Pilot {
  Eigen::VectorXd weights;
  RowMajorMatrix gradients;
};

// The covariance at the pilot's point, with the pilot's gradients in it.
absl::StatusOr<HessianEstimate> PilotAndCovariance(EstimationRun& run, const NoiseChoice& noise, const Pilot& pilot) {
  GRADORACLE_ASSIGN_OR_RETURN(HessianEstimator estimator,
                              MakeEstimator(run, noise.total_noise_variance, run.options.count));
  GRADORACLE_RETURN_IF_ERROR(estimator.Add(pilot.gradients));
  const int64_t rest = run.requests.remaining();
  if (rest > 0) GRADORACLE_RETURN_IF_ERROR(Gather(run, QueryAt(run, pilot.weights, rest, noise), estimator));
  return CovarianceEstimate(run, estimator, pilot.weights, Estimator::kCovariance);
}

// Pairs at +-R q_j, max(128, m/8) gradients over as many directions as that reaches.
absl::Status AskDesignPilot(EstimationRun& run, const NoiseChoice& noise, DesignPairs& design) {
  const int64_t pairs = std::max(kPilot, std::min(run.options.count / 8, kLargestDesignPilot)) / 2;
  const int64_t directions = std::min(pairs, design.dimension());
  for (int64_t j = 0; j < directions && !run.requests.stopped(); ++j) {
    const int64_t share = pairs / directions + (j < pairs % directions ? 1 : 0);
    GRADORACLE_RETURN_IF_ERROR(AskPairs(run, noise, j, share, design));
  }
  return absl::OkStatus();
}

// Whether designed weights can be long enough to be worth a pilot.
bool LongEnough(const EstimationRun& run, double trace) {
  const double radius = DesignRadius(run.info, run.options.batch_size);
  const double d = static_cast<double>(run.info.dimension);
  return radius * radius * trace / d >= kSmallestRadius * static_cast<double>(run.options.batch_size);
}

}  // namespace

absl::StatusOr<HessianEstimate> EstimateByRule(EstimationRun& run) {
  const EstimationOptions& options = run.options;
  const absl::StatusOr<NoiseChoice> chosen =
      ChooseNoise(run.info.noise, options.batch_size, options.total_noise_variance);
  if (!chosen.ok() && run.info.noise.curvature_probe && !options.total_noise_variance.has_value()) {
    return WithReason(EstimateByProbe(run),
                      "the total noise variance is not known, and the curvature probe needs none");
  }
  GRADORACLE_RETURN_IF_ERROR(chosen.status());
  const NoiseChoice& noise = *chosen;
  if (options.count < kFewestForPilot) {
    const std::string reason = absl::StrCat("fewer than ", kFewestForPilot, " gradients leave none for a pilot");
    return LargeNoiseOffered(run) ? WithReason(EstimateByProbe(run), reason)
                                  : WithReason(EstimateByCovariance(run), reason);
  }

  // 2. Pilot at the weights given. It is what an interrupted run falls back on.
  GRADORACLE_RETURN_IF_ERROR(MakeEstimator(run, noise.total_noise_variance, options.count).status());  // memory
  Pilot pilot{options.weights, {}};
  GRADORACLE_ASSIGN_OR_RETURN(pilot.gradients, run.requests.Fetch(QueryAt(run, pilot.weights, kPilot, noise)));
  const auto interrupted = [&] {
    return WithReason(PilotAndCovariance(run, noise, pilot), "interrupted; only the pilot is of use");
  };
  if (run.requests.stopped()) return interrupted();
  const auto finish = [&](absl::StatusOr<HessianEstimate> estimate, const std::string& reason) {
    if (!estimate.ok() && run.requests.stopped()) return interrupted();
    return WithReason(std::move(estimate), reason);
  };
  const double scale = static_cast<double>(options.batch_size) / noise.total_noise_variance;
  const double pilot_trace = scale * CovarianceTrace(pilot.gradients);
  const double d = static_cast<double>(run.info.dimension);
  double trace = run.unit_diagonal_known() ? d : pilot_trace;  // an upper bound where the diagonal is not known
  Evidence evidence;
  evidence.trace_known = run.unit_diagonal_known();

  // 3. Pilot of a design, where one is allowed.
  std::optional<DesignPairs> design;
  if (LongEnough(run, trace) && run.requests.remaining() >= FewestDesignGradients(run.info.dimension)) {
    GRADORACLE_RETURN_IF_ERROR(CheckDesignMemory(run.info.dimension));
    design.emplace(run.info.dimension, DesignRadius(run.info, options.batch_size), run.generator);
    GRADORACLE_RETURN_IF_ERROR(AskDesignPilot(run, noise, *design));
    if (run.requests.stopped()) return interrupted();
    if (!evidence.trace_known) trace = std::clamp(design->Trace(), 1e-3 * pilot_trace, pilot_trace);
    evidence.trace_known = true;
    if (LongEnough(run, trace)) {
      // rho^2 = [n tr N/(R^2 tr H)] d/(2n): kurtosis, tau^2 and distance are all inside N.
      const double radius = design->radius();
      evidence.rho = std::sqrt(design->MidpointTrace() * d / (2 * radius * radius * trace));
    } else {
      design.reset();
    }
  }
  if (evidence.trace_known) evidence.excess = pilot_trace / trace - 1;
  std::string excess =
      evidence.trace_known
          ? absl::StrFormat("the diagonal at these weights is in excess by %.2g on average", evidence.excess)
          : "the diagonal of the Hessian is not known";

  // 4. to 6.
  if (evidence.rho.has_value() && *evidence.rho < 1) {
    return finish(CompleteDesign(run, noise, *design),
                  absl::StrFormat("designed weights of norm %.3g are allowed and promise %.2g of a covariance's error",
                                  design->radius(), *evidence.rho));
  }
  const std::string no_design =
      evidence.rho.has_value() ? absl::StrFormat("designed weights promise %.2g of a covariance's error", *evidence.rho)
                               : "weights long enough for a design are not allowed";
  if (LargeNoiseOffered(run)) {
    const absl::string_view offer =
        run.info.noise.curvature_probe ? "; the curvature probe is offered" : "; large noise is offered";
    return finish(EstimateByProbe(run), absl::StrCat(no_design, offer));
  }
  if (evidence.excess < kSmallExcess) return finish(PilotAndCovariance(run, noise, pilot), excess);
  // 7. The target is standardised with the features: at w = 0 the residuals' variance is 1, whatever the start. A
  // design begun keeps the gradients that it needs.
  const int64_t needed = design.has_value() ? MissingGradients(*design) : 0;
  if (run.unit_diagonal_known() && !options.weights.isZero(0) && run.requests.remaining() - kPilot >= needed) {
    Pilot origin{Eigen::VectorXd::Zero(run.info.dimension), {}};
    GRADORACLE_ASSIGN_OR_RETURN(origin.gradients, run.requests.Fetch(QueryAt(run, origin.weights, kPilot, noise)));
    if (run.requests.stopped()) return interrupted();
    evidence.excess = scale * CovarianceTrace(origin.gradients) / trace - 1;
    absl::StrAppendFormat(&excess, ", and at w = 0 by %.2g", evidence.excess);
    if (evidence.excess < kSmallExcess) return finish(PilotAndCovariance(run, noise, origin), excess);
    pilot = std::move(origin);
  }
  if (design.has_value()) {
    return finish(CompleteDesign(run, noise, *design), absl::StrCat(excess, ", and a design is unbiased"));
  }
  if (!run.unit_diagonal_known()) {
    return finish(PilotAndCovariance(run, noise, pilot), absl::StrCat(excess, ", and nothing better is allowed"));
  }
  return finish(WarmUpAndEstimate(run, noise, pilot.weights, pilot.gradients), excess);
}

}  // namespace gradoracle
