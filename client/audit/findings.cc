#include "client/audit/findings.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/audit/batch_recovery.h"
#include "client/audit/differencing.h"
#include "client/audit/miscalibration.h"
#include "client/audit/support_leak.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kFewestRows = 8;
constexpr double kParallel = 1 - 1e-6;
constexpr double kRecognised = 0.9;

absl::StatusOr<RowMajorMatrix> Fetch(GradientSource& source, int64_t dimension, int64_t batch_size, int64_t count) {
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(dimension);
  query.batch_size = batch_size;
  query.count = count;
  RowMajorMatrix gradients(count, dimension);
  int64_t filled = 0;
  GRADORACLE_RETURN_IF_ERROR(source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    gradients.middleRows(filled, block.rows()) = block;
    filled += block.rows();
    return absl::OkStatus();
  }));
  return gradients;
}

nlohmann::json Finding(bool found, const std::string& sentence, nlohmann::json evidence) {
  evidence["sentence"] = sentence;
  return {{"found", found}, {"evidence", std::move(evidence)}};
}

}  // namespace

nlohmann::json NotTested(const std::string& why) { return {{"found", nullptr}, {"evidence", {{"sentence", why}}}}; }

absl::StatusOr<nlohmann::json> FindSupportLeakIn(GradientSource& source, int64_t count, const RegressionData* rows,
                                                 absl::BitGenRef generator) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  const int64_t batch_size = std::min(std::max(info.limits.min_batch_size, kFewestRows), info.limits.max_batch_size);
  GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix gradients, Fetch(source, info.dimension, batch_size, count));
  const SupportLeak leak = FindSupportLeak(gradients);
  nlohmann::json evidence = {{"batch_size", batch_size},
                             {"gradients", leak.gradients},
                             {"zero_share", leak.zero_share},
                             {"repeated_ratio_share", leak.repeated_share},
                             {"features", leak.features}};
  std::string sentence =
      leak.zeros > leak.zeros_by_chance
          ? absl::StrFormat(
                "%.0f%% of the coordinates of gradients are exactly zero: they tell which categories no row "
                "of the batch has, whatever the noise.",
                100 * leak.zero_share)
      : leak.found() ? absl::StrFormat(
                           "%d features have coordinates whose ratio repeats exactly, in up to %.0f%% of "
                           "gradients: the mark of categories that no row of the batch has.",
                           leak.features.size(), 100 * leak.repeated_share)
                     : "No exact zeros and no repeated ratios: the gradients do not show which features are absent.";
  if (leak.found() && rows != nullptr) {
    const BatchSupport support = MeasureBatchSupport(*rows, batch_size, generator);
    evidence["readable_residuals"] = support.readable_residuals;
    evidence["absent_coordinates"] = support.absent_coordinates;
    absl::StrAppend(&sentence, absl::StrFormat(" %.0f%% of the rows of a batch are alone in some category, so that "
                                               "their noisy residuals can be read.",
                                               100 * support.readable_residuals));
  }
  return Finding(leak.found(), sentence, std::move(evidence));
}

absl::StatusOr<nlohmann::json> FindRowReconstruction(GradientSource& source, int64_t count,
                                                     const RegressionData* rows) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  const int64_t batch_size = info.limits.min_batch_size;
  nlohmann::json evidence = {{"batch_size", batch_size}};
  if (batch_size > 1) {
    return Finding(false,
                   absl::StrCat("The smallest batch has ", batch_size,
                                " rows, so that no gradient is a multiple of a single row (rows of small batches are "
                                "the matter of batch_recovery)."),
                   std::move(evidence));
  }
  if (rows == nullptr && info.noise.isotropic) {
    return NotTested(
        "Batches of one row are allowed, but replies carry isotropic noise in place of target noise: how well that "
        "hides the row cannot be told without the owner's data.");
  }
  GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix gradients, Fetch(source, info.dimension, batch_size, count));
  evidence["gradients"] = gradients.rows();
  if (rows == nullptr) {
    return Finding(true, "Batches of one row are allowed: each gradient is a multiple of that row, whatever the noise.",
                   std::move(evidence));
  }
  double least = 1;
  std::set<int64_t> found;
  for (Eigen::Index k = 0; k < gradients.rows(); ++k) {
    const ClosestRow closest = FindClosestRow(rows->features, gradients.row(k).transpose());
    if (closest.row < 0) continue;
    least = std::min(least, closest.cosine);
    if (closest.cosine >= kParallel) found.insert(closest.row);
  }
  evidence["smallest_cosine"] = least;
  evidence["rows_found"] = found.size();
  return Finding(!found.empty(),
                 absl::StrFormat("Batches of one row are allowed: %d gradients gave %d different rows up to their "
                                 "length (smallest |cos| %.9f), whatever the noise.",
                                 gradients.rows(), found.size(), least),
                 std::move(evidence));
}

absl::StatusOr<nlohmann::json> FindBatchRecovery(GradientSource& source, int64_t count, const RegressionData* rows) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  const int64_t batch_size = info.limits.min_batch_size;
  nlohmann::json evidence = {{"batch_size", batch_size}, {"dimension", info.dimension}};
  if (batch_size > info.dimension - kSpareDimensions) {
    return Finding(false,
                   absl::StrCat("The smallest batch has ", batch_size, " rows in ", info.dimension,
                                " dimensions: the span of its rows says nothing."),
                   std::move(evidence));
  }
  if (rows == nullptr) {
    return NotTested(absl::StrCat("The smallest batch, ", batch_size, " rows, is below the dimension, ", info.dimension,
                                  ": who has a list of candidate rows can look for those of a gradient. Not tried "
                                  "without the owner's data."));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix gradients, Fetch(source, info.dimension, batch_size, count));
  int64_t exact = 0;
  int64_t members = 0;
  for (Eigen::Index k = 0; k < gradients.rows(); ++k) {
    const RecoveredBatch batch = RecoverBatch(rows->features, gradients.row(k).transpose(), batch_size);
    if (!batch.exact) continue;
    ++exact;
    members += static_cast<int64_t>(batch.rows.size());
  }
  evidence["gradients"] = gradients.rows();
  evidence["batches_recovered"] = exact;
  evidence["rows_recovered"] = members;
  evidence["candidates"] = rows->row_count();
  return Finding(exact > 0,
                 absl::StrFormat("With all %d rows as candidates, matching pursuit read the whole batch off %d of %d "
                                 "single gradients (rows a batch: %d; dimensions: %d).",
                                 rows->row_count(), exact, gradients.rows(), batch_size, info.dimension),
                 std::move(evidence));
}

absl::StatusOr<nlohmann::json> FindMiscalibration(GradientSource& source, int64_t batch_size, int64_t count,
                                                  const RegressionData* rows, const Eigen::MatrixXd* hessian,
                                                  double residual_variance) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  if (rows == nullptr || hessian == nullptr) {
    return NotTested("The scale of the noise cannot be told without the owner's data.");
  }
  if (info.noise.isotropic) {
    return NotTested("Replies carry isotropic noise in place of target noise, so that there is nothing to calibrate.");
  }
  GRADORACLE_ASSIGN_OR_RETURN(const NoiseScale scale,
                              MeasureNoiseScale(source, *rows, *hessian, residual_variance, batch_size, count));
  nlohmann::json evidence = {{"batch_size", batch_size},
                             {"gradients", scale.gradients},
                             {"total_noise_variance_over_n", scale.total_over_batch_size},
                             {"standard_error", scale.standard_error},
                             {"deviations", scale.deviations},
                             {"false_alarm_probability", 1e-6},
                             {"declared_rule", std::string(NoiseRuleName(info.noise.rule))}};
  if (const auto declared = KnownTotalNoiseVariance(info.noise, batch_size); declared.has_value()) {
    evidence["declared_total_noise_variance_over_n"] = *declared / static_cast<double>(batch_size);
  }
  const std::string measured = absl::StrFormat("The total noise variance is %.4f n (standard error %.4f)",
                                               scale.total_over_batch_size, scale.standard_error);
  return Finding(scale.miscalibrated(),
                 scale.miscalibrated()
                     ? absl::StrFormat("%s, not n: %.0f standard errors off. Hessians made in the belief that it is n "
                                       "are wrong by that factor.",
                                       measured, std::abs(scale.deviations))
                     : absl::StrCat(measured, ": as calibrated."),
                 std::move(evidence));
}

absl::StatusOr<nlohmann::json> TryDifferencing(GradientSource& before, GradientSource& after,
                                               const AppendedRowCase& appended, int64_t batch_size, int64_t budget,
                                               absl::BitGenRef generator) {
  GRADORACLE_ASSIGN_OR_RETURN(const AppendedRow row, RowFromGradients(before, after, batch_size, budget, generator));
  const double norm = appended.row.norm();
  return nlohmann::json{{"leverage", appended.leverage},
                        {"cosine", norm > 0 ? std::abs(row.direction.dot(appended.row)) / norm : 0},
                        {"norm_ratio", norm > 0 ? row.norm / norm : 0},
                        {"gradients", row.gradients},
                        {"batch_size", batch_size}};
}

nlohmann::json DifferencingFinding(const nlohmann::json& cases) {
  bool found = false;
  std::string sentence = "One row appended and served again in the same units:";
  for (const nlohmann::json& one : cases) {
    const double cosine = one["cosine"].get<double>();
    found = found || cosine >= kRecognised;
    absl::StrAppend(&sentence,
                    absl::StrFormat(" the row of %s leverage is found with |cos| %.2f after %d gradients;",
                                    one["leverage"].get<std::string>(), cosine, one["gradients"].get<int64_t>()));
  }
  sentence.back() = '.';
  return Finding(found, sentence, {{"cases", cases}});
}

}  // namespace gradoracle
