#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/estimation/active_design.h"
#include "client/estimation/estimation_run.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/hessian_form.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kRounds = 4;
constexpr int64_t kFewestPairs = 2;     // a direction, for an estimate with an error limit
constexpr double kLargestRadius = 100;  // in sqrt(n)

// Pairs each direction should have in the end: water is poured where the level is lowest.
std::vector<int64_t> Targets(const DesignPairs& design, int64_t more) {
  const int64_t dimension = design.dimension();
  std::vector<int64_t> order(static_cast<size_t>(dimension));
  for (int64_t j = 0; j < dimension; ++j) order[static_cast<size_t>(j)] = j;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return design.pairs(a) < design.pairs(b); });
  // The lowest `filled` directions all reach `level`, the first `rest` of them one more.
  int64_t filled = 0;
  int64_t sum = more;
  while (filled < dimension && (filled == 0 || sum >= filled * design.pairs(order[static_cast<size_t>(filled)]))) {
    sum += design.pairs(order[static_cast<size_t>(filled)]);
    ++filled;
  }
  const int64_t level = sum / filled;
  const int64_t rest = sum % filled;
  std::vector<int64_t> targets(static_cast<size_t>(dimension));
  for (int64_t place = 0; place < dimension; ++place) {
    const int64_t j = order[static_cast<size_t>(place)];
    targets[static_cast<size_t>(j)] = place < filled ? level + (place < rest ? 1 : 0) : design.pairs(j);
  }
  return targets;
}

}  // namespace

int64_t FewestDesignGradients(int64_t dimension) { return 2 * kFewestPairs * dimension; }

int64_t MissingGradients(const DesignPairs& design) {
  int64_t pairs = 0;
  for (int64_t j = 0; j < design.dimension(); ++j) pairs += std::max<int64_t>(0, kFewestPairs - design.pairs(j));
  return 2 * pairs;
}

double DesignRadius(const OracleInfo& info, int64_t batch_size) {
  const double allowed = info.limits.max_weights_norm;
  if (!HasUnitDiagonal(info)) return allowed;
  return std::min(allowed, kLargestRadius * std::sqrt(static_cast<double>(batch_size)));
}

NoiseChoice DesignNoise(const EstimationRun& run) {
  const absl::StatusOr<NoiseChoice> noise =
      ChooseNoise(run.info.noise, run.options.batch_size, run.options.total_noise_variance);
  return noise.value_or(NoiseChoice{});
}

absl::Status AskPairs(const EstimationRun& run, const NoiseChoice& noise, int64_t direction, int64_t pairs,
                      DesignPairs& design) {
  const Eigen::VectorXd point = design.Point(direction);
  GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix plus, run.requests.Fetch(QueryAt(run, point, pairs, noise)));
  GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix minus, run.requests.Fetch(QueryAt(run, -point, pairs, noise)));
  const Eigen::Index whole = std::min(plus.rows(), minus.rows());
  if (whole > 0) design.Add(direction, plus.topRows(whole), minus.topRows(whole));
  return absl::OkStatus();
}

absl::StatusOr<HessianEstimate> CompleteDesign(EstimationRun& run, const NoiseChoice& noise, DesignPairs& design) {
  const int64_t dimension = design.dimension();
  const std::vector<int64_t> targets = Targets(design, run.requests.remaining() / 2);
  if (*std::min_element(targets.begin(), targets.end()) < kFewestPairs) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOO_FEW_GRADIENTS", "count",
                     absl::StrCat("count is ", run.options.count,
                                  ", but active needs at least 4 * dimension = ", FewestDesignGradients(dimension),
                                  " gradients, 2 at each of 2 points a direction; ask for more, or use "
                                  "--estimator auto"));
  }
  // First the fewest pairs of every direction, then the rest in equal parts.
  const int64_t highest = *std::max_element(targets.begin(), targets.end());
  const int64_t rounds = std::min(kRounds, highest / 2);
  for (int64_t round = 1; round <= rounds && !run.requests.stopped(); ++round) {
    for (int64_t j = 0; j < dimension && !run.requests.stopped(); ++j) {
      const int64_t target = targets[static_cast<size_t>(j)];
      const int64_t wanted = round == rounds ? target : std::max(kFewestPairs, target * round / rounds);
      if (wanted <= design.pairs(j)) continue;
      GRADORACLE_RETURN_IF_ERROR(AskPairs(run, noise, j, wanted - design.pairs(j), design));
    }
  }
  if (design.fewest_pairs() < 1) return Interrupted(Estimator::kActive);

  UnfinishedEstimate unfinished;
  unfinished.hessian = design.Hessian();
  if (!unfinished.hessian.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: entries so large that their sums overflow");
  }
  if (design.fewest_pairs() >= kFewestPairs) {
    unfinished.difference = [&](absl::BitGenRef generator, Eigen::MatrixXd& lower) {
      design.DrawDifference(generator, lower);
    };
  }
  unfinished.count = 2 * design.pairs();
  unfinished.unit_diagonal = run.impose_unit_diagonal();
  unfinished.smallest_diagonal = 0.25;  // as for two_level: a difference, whose diagonal may come near zero

  HessianEstimate estimate;
  estimate.estimator = Estimator::kActive;
  estimate.dimension = dimension;
  estimate.batch_size = run.options.batch_size;
  estimate.total_noise_variance = noise.total_noise_variance;
  estimate.mean_gradient = design.MeanGradient();
  FinishEstimate(std::move(unfinished), run.options.level, run.generator, estimate);
  return estimate;
}

absl::Status CheckDesignMemory(int64_t dimension) {
  // 16 groups of sums, the frame, its factorisation, and the five work matrices of the error limit.
  const double d = static_cast<double>(dimension);
  return CheckBytes(dimension, 24 * sizeof(double) * d * d, "a design with its error limit");
}

absl::StatusOr<HessianEstimate> EstimateActively(EstimationRun& run) {
  GRADORACLE_RETURN_IF_ERROR(CheckDesignMemory(run.info.dimension));
  DesignPairs design(run.info.dimension, DesignRadius(run.info, run.options.batch_size), run.generator);
  return CompleteDesign(run, DesignNoise(run), design);
}

}  // namespace gradoracle
