#ifndef GRADORACLE_CORE_LOCAL_ORACLE_H_
#define GRADORACLE_CORE_LOCAL_ORACLE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "core/gradient_engine.h"
#include "core/gradient_source.h"
#include "core/least_squares.h"
#include "core/oracle_info.h"
#include "core/random_stream.h"
#include "core/regression_data.h"
#include "core/scaling.h"

namespace gradoracle {

// What the owner decides about an oracle; the server's flags for data, noise, sampling and limits, one field each.
struct OracleOptions {
  std::string data_path;
  std::string target;  // empty: last column
  bool standardise = true;
  std::string scaling_path;  // --scaling; empty: none
  NoisePolicy noise;
  std::vector<double> extra_noise_variances;  // total variances, each finite and > 0
  bool curvature_probe = false;
  Sampling sampling = Sampling::kIid;
  int64_t min_batch_size = 32;
  std::optional<int64_t> max_batch_size;  // unset: LargestBatchSize
  int64_t max_count = 1'000'000;
  double max_weights_norm = 100;
  bool publish_feature_names = false;
  DefencePolicy defence = {};
  // A mask from a wanted budget instead of defence.mask_variance: the active attack shall still err by mask_error after
  // mask_budget gradients (core/defence/mask_budget.h). Both or neither. The mask then depends on the data, and `info`
  // does not tell it.
  std::optional<int64_t> mask_budget;
  std::optional<double> mask_error;
  bool publish_defences = true;  // `info` tells the values of `defence`
  // Label of the data set's version; empty: derived from the file's modification time, N, d and the units, never
  // from the values (a hash of private values would confirm guesses of them).
  std::string dataset_version;
};

// Everything that can be said of the options without the data. Errors: kInvalidArgument, as LocalOracle::Create.
absl::Status CheckOracleOptions(const OracleOptions& options);

// A data set in served units with everything the owner's side knows about it. `fit`, `scaling` and `warnings` are the
// owner's; `info` is what callers are told.
class LocalOracle {
 public:
  // Reads, standardises, fits, checks every option against the data. Errors name the option's flag, its value and what
  // is allowed: kInvalidArgument; kFailedPrecondition NOISE_RULE_IMPOSSIBLE when no admissible batch size works.
  static absl::StatusOr<std::unique_ptr<LocalOracle>> Create(const OracleOptions& options);
  // The same from data in memory (data_path is only a label; dataset_version must be given or is "memory").
  static absl::StatusOr<std::unique_ptr<LocalOracle>> FromData(RegressionData data, const OracleOptions& options);

  const OracleInfo& info() const { return info_; }
  // What info().limits would be with the limits of `options` and everything else as it is. Errors: as Create.
  absl::StatusOr<QueryLimits> LimitsFor(const OracleOptions& options) const;
  const RegressionData& data() const { return data_; }  // in served units
  const LeastSquaresFit& fit() const { return fit_; }
  // Units the data came in -> served units; for raw serving the scaling that standardising would use.
  const absl::StatusOr<Scaling>& scaling() const { return scaling_; }
  const GradientEngine& engine() const { return *engine_; }
  // The defences in force, whether published or not.
  const DefencePolicy& defence() const { return engine_->options().defence; }
  // Smallest n at which tau^2 = n is possible, ceil(sigma^2) with the sampling's factor; for the owner's eyes.
  int64_t smallest_calibrated_batch_size() const { return smallest_calibrated_batch_size_; }
  // For the owner: exact collinearity, min_batch_size < 2d, effective min_batch_size raised, interpolation ...
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  LocalOracle() = default;

  RegressionData data_;
  absl::StatusOr<Scaling> scaling_ = Scaling{};
  LeastSquaresFit fit_;
  OracleInfo info_;
  std::unique_ptr<GradientEngine> engine_;
  int64_t smallest_calibrated_batch_size_ = 1;
  std::vector<std::string> warnings_;
};

// An in-process GradientSource over a LocalOracle: puts the weights on their grid, validates, derives a fresh key for
// each query (sticky ones beside a grid of weights), computes in blocks. It charges nothing, so that participation is
// not capped here.
class LocalGradientSource : public GradientSource {
 public:
  using KeyGenerator = absl::AnyInvocable<absl::StatusOr<RequestKey>()>;
  // `oracle` must outlive this. `next_key` is called once per query (beside a grid of weights: once in all, for the
  // secret of its keys): tests hand in a seeded one.
  LocalGradientSource(const LocalOracle* oracle, KeyGenerator next_key);

  absl::StatusOr<OracleInfo> Info() override;
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override;

 private:
  absl::StatusOr<RequestKey> Key(const GradientQuery& query);

  const LocalOracle* oracle_;
  KeyGenerator next_key_;
  std::optional<ProcessSecret> sticky_secret_;  // made from the first key, where there is a grid of weights
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_LOCAL_ORACLE_H_
