#ifndef GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_STATE_H_
#define GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/estimation/hessian_estimator.h"
#include "core/oracle_info.h"

// Estimates that outlive a process: what was gathered, from whom, and for which question, so that it can be gone on
// with, and joined with what other processes gathered. client/estimation/state_file.h puts it into a file.
namespace gradoracle {

// Whose rows the gradients came from, in which units. Two oracles are the same when all of this is equal.
struct OracleIdentity {
  std::string dataset_version;
  std::string scaling;    // as OracleInfo::scaling
  int64_t row_count = 0;  // N; 0: unknown (a recording)
  bool operator==(const OracleIdentity&) const = default;
};

OracleIdentity IdentityOf(const OracleInfo& info);
// Of recorded gradients, which tell nothing: dataset_version and scaling "recorded".
OracleIdentity RecordingIdentity();

// What every gradient of a state was asked for; dimension, batch size and total noise variance are the estimator's.
struct QueryIdentity {
  std::string estimator;       // "covariance"
  std::string weights_digest;  // WeightsDigest; empty for recorded gradients
  bool operator==(const QueryIdentity&) const = default;
};

// SHA-256, in hex, of the weights as little-endian float64 with -0 as 0.
std::string WeightsDigest(const Eigen::VectorXd& weights);

// One oracle's gradients.
struct StatePart {
  OracleIdentity oracle;
  // One identifier for every run that added gradients, so that the same gradients are never counted twice.
  std::vector<std::string> runs;
  HessianEstimator estimator;
};

struct EstimatorState {
  QueryIdentity query;
  std::vector<StatePart> parts;  // at least one; different oracles
};

// Whether gradients of `oracle`, asked as `query` and `like` say, may be added to the state's only part.
// Errors: kInvalidArgument STATE_MISMATCH, naming everything that differs; the field is the first of them.
absl::Status CheckResumable(const EstimatorState& state, const QueryIdentity& query, const OracleIdentity& oracle,
                            const HessianEstimator& like);

// Takes over what `other` has gathered. Parts of the same oracle are pooled, as if one stream had brought them; other
// oracles' parts stand beside them. The order of merging does not matter.
// Errors: kInvalidArgument STATE_MISMATCH (query, dimension, batch size, total noise variance, units; oracles that
// standardise by their own rows have no units in common), STATE_OVERLAP (a run is in both). Nothing is changed then.
absl::Status MergeStates(EstimatorState& state, EstimatorState other);

// The Hessian of the union of the parts' rows, N = sum N_i: H = sum p_i H_i, p_i = N_i/N, so H_hat = sum p_i H_hat_i.
// One part: HessianEstimator::Estimate. Several: the limit is split+z with D = sum p_i D_i, D_i the parts' split
// differences under independent signs, which has the covariance of H_hat - H; its skew factor takes the count
// 1 / sum(p_i^2/m_i), m when p_i = m_i/m. kappa is of the pooled mean gradients' parts: the largest; likewise the
// first part's bias warning that there is. Errors: those of HessianEstimator::Estimate.
absl::StatusOr<HessianEstimate> EstimateFromState(const EstimatorState& state, absl::BitGenRef generator, double level);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ESTIMATOR_STATE_H_
