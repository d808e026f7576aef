#include "core/local_oracle.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/defence/mask_budget.h"
#include "core/defence/weights_grid.h"
#include "core/errors.h"
#include "core/query_policy.h"
#include "core/random_stream.h"
#include "core/read_regression_data.h"
#include "core/reply_grid.h"
#include "core/status_macros.h"
#include "core/version.h"

namespace gradoracle {
namespace {

constexpr size_t kLongestVersionLabel = 128;
constexpr size_t kVersionDigits = 16;
constexpr size_t kNamesInWarning = 20;
constexpr int64_t kBlockBytes = int64_t{256} << 10;

// --- Options, before any data is read ---

absl::Status CheckVersionLabel(const std::string& label) {
  const bool printable =
      std::all_of(label.begin(), label.end(), [](char character) { return character >= 0x20 && character <= 0x7e; });
  if (printable && label.size() <= kLongestVersionLabel) return absl::OkStatus();
  return InvalidField("DATASET_VERSION_INVALID", "dataset_version",
                      absl::StrCat("--dataset-version has ", label.size(), " bytes; must be at most ",
                                   kLongestVersionLabel, " printable ASCII characters"));
}

}  // namespace

absl::Status CheckOracleOptions(const OracleOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(ValidateNoisePolicy(options.noise));
  for (const double variance : options.extra_noise_variances) {
    if (std::isfinite(variance) && variance > 0) continue;
    return InvalidField("EXTRA_NOISE_VARIANCES_INVALID", "extra_noise_variances",
                        absl::StrFormat("--extra-noise-variances holds %.15g; each must be finite and > 0", variance));
  }
  if (options.min_batch_size < 1) {
    return InvalidField("MIN_BATCH_SIZE_INVALID", "min_batch_size",
                        absl::StrCat("--min-batch-size is ", options.min_batch_size, "; must be at least 1"));
  }
  if (options.max_batch_size.has_value() && *options.max_batch_size < options.min_batch_size) {
    return InvalidField("MAX_BATCH_SIZE_INVALID", "max_batch_size",
                        absl::StrCat("--max-batch-size is ", *options.max_batch_size,
                                     "; must be at least --min-batch-size, ", options.min_batch_size));
  }
  if (options.max_count < 1) {
    return InvalidField("MAX_COUNT_INVALID", "max_count",
                        absl::StrCat("--max-count is ", options.max_count, "; must be at least 1"));
  }
  if (!(std::isfinite(options.max_weights_norm) && options.max_weights_norm > 0)) {
    return InvalidField(
        "MAX_WEIGHTS_NORM_INVALID", "max_weights_norm",
        absl::StrFormat("--max-weights-norm is %.15g; must be finite and > 0", options.max_weights_norm));
  }
  if (options.mask_budget.has_value() != options.mask_error.has_value() ||
      (options.mask_budget.has_value() && options.defence.mask_variance.has_value())) {
    return InvalidField("DEFENCE_INVALID", "mask_budget",
                        "--mask-budget and --mask-error go together, and without --mask-variance, which they replace");
  }
  DefencePolicy defence = options.defence;
  if (options.mask_budget.has_value()) defence.mask_variance = 1;  // to be known with the data
  GRADORACLE_RETURN_IF_ERROR(ValidateDefences(defence, options.sampling, options.noise,
                                              options.curvature_probe || !options.extra_noise_variances.empty()));
  return CheckVersionLabel(options.dataset_version);
}

namespace {

// --- Defences, once the data is known ---

absl::StatusOr<DefencePolicy> ChooseDefences(const OracleOptions& options, const LeastSquaresFit& fit) {
  DefencePolicy defence = options.defence;
  if (!options.mask_budget.has_value()) return defence;
  GRADORACLE_ASSIGN_OR_RETURN(
      defence.mask_variance,
      MaskVarianceForBudget(*options.mask_budget, options.mask_error.value_or(0), options.max_weights_norm,
                            fit.eigenvalues(0), static_cast<int64_t>(fit.eigenvalues.size())));
  return defence;
}

// What `info` tells of them: nothing that was computed from the data.
DefencePolicy DescribeDefences(const OracleOptions& options) {
  return options.publish_defences ? options.defence : DefencePolicy();
}

// The finer grid would let low bits through that the data has a part in.
absl::StatusOr<double> ChooseReplyGrid(const DefencePolicy& defence, double smallest) {
  if (!defence.reply_grid.has_value()) return smallest;
  if (*defence.reply_grid >= smallest) return *defence.reply_grid;
  return InvalidField("DEFENCE_INVALID", "reply_grid",
                      absl::StrFormat("--reply-grid is %.15g, finer than the grid the replies of this oracle lie on "
                                      "anyway; must be at least %.15g",
                                      *defence.reply_grid, smallest));
}

// --- Units ---

// What the units are, before the data is seen: a scaling file wins over --standardise.
struct Units {
  std::string name;  // what `info` calls scaling
  std::optional<Scaling> published;
};

absl::StatusOr<Units> ChooseUnits(const OracleOptions& options) {
  if (!options.scaling_path.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(ScalingFile file, ReadScalingFile(options.scaling_path));
    return Units{std::move(file.sha256), std::move(file.scaling)};
  }
  return Units{options.standardise ? "standardised" : "raw", std::nullopt};
}

// --- Dataset version ---

// From the file's time, the name of the target and what `info` shows anyway; never from the values or what follows from
// them, as the file's size does: a hash would let anyone confirm guesses.
std::string DeriveDatasetVersion(const struct stat& file, const RegressionData& data, absl::string_view units) {
  const std::string label = absl::StrCat("gradoracle/dataset/v1\n", file.st_mtim.tv_sec, ".",
                                         absl::Dec(file.st_mtim.tv_nsec, absl::kZeroPad9), "\n", data.row_count(), "\n",
                                         data.dimension(), "\n", units, "\n", data.target_name);
  return Sha256Hex(label).substr(0, kVersionDigits);
}

// --- Limits ---

// Smallest n at which `noise` is possible, whatever the count; beyond the largest batch the factor is that of the
// largest, so that the owner is told how far away the rule is.
int64_t SmallestPossible(const NoisePolicy& noise, Sampling sampling, int64_t row_count, double residual_variance) {
  const int64_t largest = LargestBatchSize(sampling, row_count);
  return SmallestBatchSize(noise, residual_variance, [&](int64_t batch_size) {
    return LargestSamplingVarianceFactor(sampling, row_count, std::min(batch_size, largest));
  });
}

absl::StatusOr<QueryLimits> ChooseLimits(const OracleOptions& options, int64_t row_count, double residual_variance) {
  const int64_t largest = LargestBatchSize(options.sampling, row_count);
  const int64_t max_batch_size = options.max_batch_size.value_or(largest);
  if (max_batch_size > largest) {
    return InvalidField(
        "MAX_BATCH_SIZE_INVALID", "max_batch_size",
        absl::StrCat("--max-batch-size is ", max_batch_size, "; must be at most ", largest, ", the most ",
                     SamplingName(options.sampling), " sampling draws from ", row_count, " rows"));
  }
  if (options.min_batch_size > max_batch_size) {
    return InvalidField(
        "MIN_BATCH_SIZE_INVALID", "min_batch_size",
        absl::StrCat("--min-batch-size is ", options.min_batch_size, "; must be at most ", max_batch_size,
                     ", the most ", SamplingName(options.sampling), " sampling draws from ", row_count, " rows"));
  }
  const NoisePolicy noise = NoiseUnder(options.defence, options.noise);
  const int64_t smallest_possible = SmallestPossible(noise, options.sampling, row_count, residual_variance);
  if (smallest_possible > max_batch_size) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "NOISE_RULE_IMPOSSIBLE", "noise_rule",
        absl::StrCat("--noise-rule ", NoiseRuleName(options.noise.rule), " needs batches of at least ",
                     smallest_possible, " rows on this data, and the largest batch is ", max_batch_size,
                     options.max_batch_size.has_value() ? " (--max-batch-size)" : "",
                     ": the targets' own noise exceeds the rule's. Standardise the data (--standardise), change the "
                     "target's unit (--scaling), or use --noise-rule scaled with a larger --noise-scale"));
  }
  const int64_t min_batch_size = std::max(options.min_batch_size, smallest_possible);
  const double factor = LargestSamplingVarianceFactor(options.sampling, row_count, min_batch_size);
  for (const double variance : options.extra_noise_variances) {
    if (InjectedVarianceForTotal(variance, residual_variance, factor).ok()) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition, "NOISE_RULE_IMPOSSIBLE", "extra_noise_variances",
                     absl::StrFormat("--extra-noise-variances holds %.15g, less than the targets' own noise on this "
                                     "data; each must be at least the residual variance that `inspect` prints",
                                     variance));
  }
  QueryLimits limits;
  limits.min_batch_size = min_batch_size;
  limits.max_batch_size = max_batch_size;
  limits.max_count = options.max_count;
  limits.max_weights_norm = options.max_weights_norm;
  return limits;
}

// --- What callers and the owner are told ---

NoiseInfo DescribeNoise(const OracleOptions& options) {
  NoiseInfo noise;
  noise.isotropic = HasIsotropicNoise(options.defence) || options.mask_budget.has_value();
  noise.rule = noise.isotropic ? NoiseRule::kNone : options.noise.rule;
  if (options.noise.rule == NoiseRule::kScaled) noise.scale = options.noise.scale;
  if (options.noise.rule == NoiseRule::kFixed) noise.injected_variance = options.noise.variance;
  noise.extra_variances = options.extra_noise_variances;
  noise.curvature_probe = options.curvature_probe;
  return noise;
}

std::string SomeNames(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kNamesInWarning);
  const std::string list = absl::StrJoin(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", ");
  return shown == names.size() ? list : absl::StrCat(list, " and ", names.size() - shown, " more");
}

std::vector<std::string> Warnings(const OracleOptions& options, const LeastSquaresFit& fit, const OracleInfo& info) {
  std::vector<std::string> warnings;
  if (fit.rank < info.dimension) {
    warnings.push_back(absl::StrCat("the features have rank ", fit.rank, " of ", info.dimension, ": ",
                                    SomeNames(fit.collinear_features),
                                    " are linear combinations of each other; the hessian is singular"));
  }
  if (fit.interpolates) {
    warnings.push_back(absl::StrCat("the least-squares fit passes through every target (", info.row_count,
                                    " rows, rank ", fit.rank,
                                    "): the residual variance is taken as zero, which says nothing about "
                                    "fresh data"));
  }
  if (info.limits.min_batch_size > options.min_batch_size) {
    warnings.push_back(absl::StrCat("--min-batch-size is raised from ", options.min_batch_size, " to ",
                                    info.limits.min_batch_size, ", the smallest batch at which --noise-rule ",
                                    NoiseRuleName(options.noise.rule), " is possible"));
  }
  if (info.limits.min_batch_size / 2 < info.dimension) {
    warnings.push_back(absl::StrCat("limits.min_batch_size is ", info.limits.min_batch_size,
                                    ", below twice the dimension, ", info.dimension,
                                    ": the rows of such small batches can be read off their gradients; advised is "
                                    "--min-batch-size ",
                                    2 * info.dimension, " or more"));
  }
  return warnings;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalOracle>> LocalOracle::Create(const OracleOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckOracleOptions(options));
  // Read here as well as in FromData, so that a bad scaling file is told before a long read of the data.
  GRADORACLE_ASSIGN_OR_RETURN(const Units units, ChooseUnits(options));
  struct stat file = {};
  if (::stat(options.data_path.c_str(), &file) != 0) {
    return MakeError(absl::ErrnoToStatusCode(errno), "DATA_NOT_FOUND", "data",
                     absl::StrCat("--data ", options.data_path, ": no such file, or not readable"));
  }
  ReadOptions read_options;
  read_options.target = options.target;
  GRADORACLE_ASSIGN_OR_RETURN(RegressionData data, ReadRegressionData(options.data_path, read_options));
  OracleOptions labelled = options;
  if (labelled.dataset_version.empty()) labelled.dataset_version = DeriveDatasetVersion(file, data, units.name);
  return FromData(std::move(data), labelled);
}

absl::StatusOr<std::unique_ptr<LocalOracle>> LocalOracle::FromData(RegressionData data, const OracleOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckOracleOptions(options));
  GRADORACLE_ASSIGN_OR_RETURN(Units units, ChooseUnits(options));
  if (data.row_count() > int64_t{std::numeric_limits<uint32_t>::max()}) {
    return InvalidField("DATA_TOO_LARGE", "data",
                        absl::StrCat("the data has ", data.row_count(), " rows; must have fewer than 2^32"));
  }
  std::unique_ptr<LocalOracle> oracle(new LocalOracle());
  oracle->data_ = std::move(data);
  RegressionData& served = oracle->data_;
  if (units.published.has_value()) {
    oracle->scaling_ = *std::move(units.published);
  } else {
    oracle->scaling_ = ComputeScaling(served);
  }
  if (units.name != "raw") {
    GRADORACLE_RETURN_IF_ERROR(oracle->scaling_.status());
    GRADORACLE_RETURN_IF_ERROR(ApplyScaling(*oracle->scaling_, served));
  }
  GRADORACLE_ASSIGN_OR_RETURN(oracle->fit_, FitLeastSquares(served));
  const double residual_variance = oracle->fit_.residual_variance;

  OracleInfo& info = oracle->info_;
  info.dimension = served.dimension();
  info.row_count = served.row_count();
  info.scaling = units.name;
  info.noise = DescribeNoise(options);
  info.sampling = options.sampling;
  info.defence = DescribeDefences(options);
  OracleOptions defended = options;
  GRADORACLE_ASSIGN_OR_RETURN(defended.defence, ChooseDefences(options, oracle->fit_));
  const NoisePolicy noise = NoiseUnder(defended.defence, options.noise);
  GRADORACLE_ASSIGN_OR_RETURN(info.limits, ChooseLimits(defended, served.row_count(), residual_variance));
  info.dataset_version = options.dataset_version.empty() ? "memory" : options.dataset_version;
  if (options.publish_feature_names) info.feature_names = served.feature_names;
  info.version = VersionString();

  NoisePolicy calibrated;
  calibrated.rule = NoiseRule::kCalibrated;
  oracle->smallest_calibrated_batch_size_ =
      SmallestPossible(calibrated, options.sampling, served.row_count(), residual_variance);
  oracle->warnings_ = Warnings(options, oracle->fit_, info);
  const int64_t largest = LargestBatchSize(options.sampling, served.row_count());
  GRADORACLE_ASSIGN_OR_RETURN(
      const double grid,
      ChooseReplyGrid(defended.defence,
                      ReplyGrid(served, {noise, options.extra_noise_variances, residual_variance, options.sampling,
                                         largest, IsotropicNoiseVariance(defended.defence, largest)})));
  oracle->engine_ = std::make_unique<GradientEngine>(
      &served, GradientEngine::Options{options.sampling, noise, residual_variance, grid, defended.defence});
  return oracle;
}

absl::StatusOr<QueryLimits> LocalOracle::LimitsFor(const OracleOptions& options) const {
  OracleOptions served = options;
  served.noise = engine_->options().noise;
  served.defence = defence();
  served.mask_budget.reset();
  served.mask_error.reset();
  served.sampling = engine_->options().sampling;
  served.extra_noise_variances = info_.noise.extra_variances;
  GRADORACLE_RETURN_IF_ERROR(CheckOracleOptions(served));
  return ChooseLimits(served, data_.row_count(), fit_.residual_variance);
}

LocalGradientSource::LocalGradientSource(const LocalOracle* oracle, KeyGenerator next_key)
    : oracle_(oracle), next_key_(std::move(next_key)) {}

absl::StatusOr<OracleInfo> LocalGradientSource::Info() { return oracle_->info(); }

absl::StatusOr<RequestKey> LocalGradientSource::Key(const GradientQuery& query) {
  if (!oracle_->defence().weights_grid.has_value()) return next_key_();
  if (!sticky_secret_.has_value()) {
    GRADORACLE_ASSIGN_OR_RETURN(const RequestKey secret, next_key_());
    sticky_secret_.emplace(secret);
  }
  return StickyKey(*sticky_secret_, query, oracle_->info());
}

absl::Status LocalGradientSource::Gradients(const GradientQuery& asked, GradientSink sink) {
  const GradientQuery query = OnWeightsGrid(asked, oracle_->defence().weights_grid);
  GRADORACLE_RETURN_IF_ERROR(ValidateQuery(query, oracle_->info()));
  GRADORACLE_ASSIGN_OR_RETURN(const RequestKey key, Key(query));
  GRADORACLE_ASSIGN_OR_RETURN(GradientStream stream, oracle_->engine().Start(query, key));
  const int64_t row_bytes = oracle_->info().dimension * static_cast<int64_t>(sizeof(double));
  const int64_t block_rows = std::clamp<int64_t>(kBlockBytes / row_bytes, 1, query.count);
  RowMajorMatrix block(block_rows, oracle_->info().dimension);
  for (int64_t first = 0; first < query.count; first += block_rows) {
    const int64_t size = std::min(block_rows, query.count - first);
    stream.Compute(first, block.topRows(size));
    GRADORACLE_RETURN_IF_ERROR(sink(block.topRows(size)));
  }
  return absl::OkStatus();
}

}  // namespace gradoracle
