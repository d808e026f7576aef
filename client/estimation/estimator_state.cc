#include "client/estimation/estimator_state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/estimation/finish_estimate.h"
#include "client/estimation/split_limit.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// Differences in words, and the field of the first.
struct Differences {
  std::string field;
  std::vector<std::string> words;

  template <typename Value>
  void Compare(const std::string& name, const Value& ours, const Value& theirs) {
    if (ours == theirs) return;
    if (words.empty()) field = name;
    words.push_back(absl::StrCat(name, " '", ours, "' and '", theirs, "'"));
  }
};

void CompareQueries(const QueryIdentity& query, const HessianEstimator& estimator, const QueryIdentity& other_query,
                    const HessianEstimator& other, Differences& differences);
absl::Status CheckMergeable(const EstimatorState& state, const EstimatorState& other);
absl::StatusOr<HessianEstimate> EstimateUnion(const EstimatorState& state, absl::BitGenRef generator, double level);

}  // namespace

OracleIdentity IdentityOf(const OracleInfo& info) { return {info.dataset_version, info.scaling, info.row_count}; }

OracleIdentity RecordingIdentity() { return {"recorded", "recorded", 0}; }

std::string WeightsDigest(const Eigen::VectorXd& weights) {
  static_assert(std::endian::native == std::endian::little, "digests and files hold little-endian numbers");
  const Eigen::VectorXd canonical = weights.array() + 0.0;  // -0 + 0 = 0
  return Sha256Hex({reinterpret_cast<const char*>(canonical.data()), sizeof(double) * canonical.size()});
}

absl::Status CheckResumable(const EstimatorState& state, const QueryIdentity& query, const OracleIdentity& oracle,
                            const HessianEstimator& like) {
  if (state.parts.size() != 1) {
    return InvalidField("STATE_MISMATCH", "state",
                        absl::StrCat("state: it holds the gradients of ", state.parts.size(),
                                     " oracles; gather each oracle's in a state of its own, and merge them"));
  }
  const StatePart& part = state.parts.front();
  Differences differences;
  differences.Compare("dataset_version", part.oracle.dataset_version, oracle.dataset_version);
  differences.Compare("scaling", part.oracle.scaling, oracle.scaling);
  differences.Compare("row_count", part.oracle.row_count, oracle.row_count);
  CompareQueries(state.query, part.estimator, query, like, differences);
  if (differences.words.empty()) return absl::OkStatus();
  return InvalidField("STATE_MISMATCH", differences.field,
                      absl::StrCat("the state and this run differ: ", absl::StrJoin(differences.words, ", "),
                                   "; ask as before, or give another state file"));
}

absl::Status MergeStates(EstimatorState& state, EstimatorState other) {
  GRADORACLE_RETURN_IF_ERROR(CheckMergeable(state, other));
  for (StatePart& theirs : other.parts) {
    const auto ours = std::find_if(state.parts.begin(), state.parts.end(),
                                   [&](const StatePart& part) { return part.oracle == theirs.oracle; });
    if (ours == state.parts.end()) {
      state.parts.push_back(std::move(theirs));
      continue;
    }
    GRADORACLE_RETURN_IF_ERROR(ours->estimator.Merge(theirs.estimator));
    ours->runs.insert(ours->runs.end(), theirs.runs.begin(), theirs.runs.end());
  }
  return absl::OkStatus();
}

absl::StatusOr<HessianEstimate> EstimateFromState(const EstimatorState& state, absl::BitGenRef generator,
                                                  double level) {
  if (state.parts.size() == 1) return state.parts.front().estimator.Estimate(generator, level);
  return EstimateUnion(state, generator, level);
}

namespace {

std::string ImposesUnitDiagonal(const HessianEstimator& estimator) {
  return estimator.options().unit_diagonal_known && estimator.options().impose_unit_diagonal ? "imposed"
                                                                                             : "not imposed";
}

void CompareQueries(const QueryIdentity& query, const HessianEstimator& estimator, const QueryIdentity& other_query,
                    const HessianEstimator& other, Differences& differences) {
  differences.Compare("dimension", estimator.dimension(), other.dimension());
  differences.Compare("estimator", query.estimator, other_query.estimator);
  differences.Compare("weights", query.weights_digest, other_query.weights_digest);
  differences.Compare("batch_size", estimator.options().batch_size, other.options().batch_size);
  differences.Compare("total_noise_variance", estimator.options().total_noise_variance,
                      other.options().total_noise_variance);
  differences.Compare("unit_diagonal", ImposesUnitDiagonal(estimator), ImposesUnitDiagonal(other));
}

absl::Status CheckMergeable(const EstimatorState& state, const EstimatorState& other) {
  Differences differences;
  CompareQueries(state.query, state.parts.front().estimator, other.query, other.parts.front().estimator, differences);
  differences.Compare("scaling", state.parts.front().oracle.scaling, other.parts.front().oracle.scaling);
  if (!differences.words.empty()) {
    return InvalidField(
        "STATE_MISMATCH", differences.field,
        absl::StrCat("states that differ in ", absl::StrJoin(differences.words, ", "), " cannot be merged"));
  }
  for (const StatePart& theirs : other.parts) {
    for (const StatePart& ours : state.parts) {
      for (const std::string& run : theirs.runs) {
        if (std::find(ours.runs.begin(), ours.runs.end(), run) == ours.runs.end()) continue;
        return InvalidField("STATE_OVERLAP", "state",
                            absl::StrCat("state: the gradients of run ", run,
                                         " are in both states, and would be counted twice; merge states that were "
                                         "gathered apart"));
      }
      if (ours.oracle == theirs.oracle || !HasUnitDiagonal(ours.oracle.scaling)) continue;
      return InvalidField("STATE_MISMATCH", "scaling",
                          absl::StrCat("scaling: the data sets '", ours.oracle.dataset_version, "' and '",
                                       theirs.oracle.dataset_version,
                                       "' are each standardised by their own rows, so that their Hessians are in "
                                       "different units; ask their owners for a common --scaling"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<HessianEstimate> EstimateUnion(const EstimatorState& state, absl::BitGenRef generator, double level) {
  double rows = 0;
  for (const StatePart& part : state.parts) rows += static_cast<double>(part.oracle.row_count);
  HessianEstimate estimate;
  UnfinishedEstimate unfinished;
  std::vector<SplitDifferences> differences;
  std::vector<double> factors;  // of the parts' differences in that of the union
  double inverse_count = 0;
  for (const StatePart& part : state.parts) {
    GRADORACLE_ASSIGN_OR_RETURN(HessianEstimate theirs, part.estimator.Estimate(generator, level));
    const double share = static_cast<double>(part.oracle.row_count) / rows;
    differences.emplace_back(part.estimator.covariance());
    factors.push_back(share * static_cast<double>(theirs.batch_size) / theirs.total_noise_variance);
    inverse_count += share * share / static_cast<double>(theirs.gradients);
    unfinished.kurtosis_share = std::min(unfinished.kurtosis_share, differences.back().kurtosis_share());
    if (estimate.gradients == 0) {
      estimate = theirs;
      estimate.mean_gradient *= share;
      unfinished.hessian = share * theirs.hessian;
      continue;
    }
    estimate.gradients += theirs.gradients;
    estimate.mean_gradient += share * theirs.mean_gradient;
    unfinished.hessian += share * theirs.hessian;
    if (theirs.kappa.has_value()) estimate.kappa = std::max(estimate.kappa.value_or(0), *theirs.kappa);
    if (!estimate.bias_warning.has_value()) estimate.bias_warning = theirs.bias_warning;
  }
  unfinished.count = std::llround(1 / inverse_count);
  const bool available = std::all_of(differences.begin(), differences.end(),
                                     [](const SplitDifferences& part) { return part.available(); });
  if (available) {
    unfinished.difference = [&](absl::BitGenRef signs, Eigen::MatrixXd& lower) {
      Eigen::MatrixXd part;
      lower.setZero(estimate.dimension, estimate.dimension);
      for (size_t i = 0; i < differences.size(); ++i) {
        differences[i].Draw(signs, part);
        lower.triangularView<Eigen::Lower>() += factors[i] * part;
      }
    };
  }
  FinishEstimate(std::move(unfinished), level, generator, estimate);
  return estimate;
}

}  // namespace
}  // namespace gradoracle
