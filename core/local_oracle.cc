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
#include "core/errors.h"
#include "core/query_policy.h"
#include "core/random_stream.h"
#include "core/read_regression_data.h"
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

absl::Status CheckOptions(const OracleOptions& options) {
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
  return CheckVersionLabel(options.dataset_version);
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
  const int64_t smallest_possible = SmallestPossible(options.noise, options.sampling, row_count, residual_variance);
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
  noise.rule = options.noise.rule;
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
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(options));
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
  GRADORACLE_RETURN_IF_ERROR(CheckOptions(options));
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
  GRADORACLE_ASSIGN_OR_RETURN(info.limits, ChooseLimits(options, served.row_count(), residual_variance));
  info.dataset_version = options.dataset_version.empty() ? "memory" : options.dataset_version;
  if (options.publish_feature_names) info.feature_names = served.feature_names;
  info.version = VersionString();

  NoisePolicy calibrated;
  calibrated.rule = NoiseRule::kCalibrated;
  oracle->smallest_calibrated_batch_size_ =
      SmallestPossible(calibrated, options.sampling, served.row_count(), residual_variance);
  oracle->warnings_ = Warnings(options, oracle->fit_, info);
  oracle->engine_ = std::make_unique<GradientEngine>(
      &served, GradientEngine::Options{options.sampling, options.noise, residual_variance});
  return oracle;
}

LocalGradientSource::LocalGradientSource(const LocalOracle* oracle, KeyGenerator next_key)
    : oracle_(oracle), next_key_(std::move(next_key)) {}

absl::StatusOr<OracleInfo> LocalGradientSource::Info() { return oracle_->info(); }

absl::Status LocalGradientSource::Gradients(const GradientQuery& query, GradientSink sink) {
  GRADORACLE_RETURN_IF_ERROR(ValidateQuery(query, oracle_->info()));
  GRADORACLE_ASSIGN_OR_RETURN(const RequestKey key, next_key_());
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
