#include "client/estimation/gradient_trimmer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "Eigen/Cholesky"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "boost/math/distributions/chi_squared.hpp"
#include "client/estimation/hessian_form.h"
#include "client/estimation/shrinkage.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr double kLargestFraction = 0.25;
constexpr int64_t kSmallestBatchSize = 32;
constexpr int64_t kSmallestPilot = 256;
constexpr int kRefinements = 2;

int64_t DroppedOf(int64_t count, double fraction);
RowMajorMatrix NearestRows(const RowMajorMatrix& rows, const Eigen::VectorXd& distances, int64_t kept);
Eigen::VectorXd MedianOfColumns(const RowMajorMatrix& rows);
Eigen::MatrixXd ShrunkCovarianceOf(const RowMajorMatrix& rows);

}  // namespace

GradientTrimmer::GradientTrimmer(int64_t dimension, const Options& options)
    : options_(options),
      pilot_(std::min(options.expected_count, std::max(kSmallestPilot, 2 * dimension)), dimension),
      held_(DroppedOf(options.expected_count, options.fraction), dimension) {}

absl::StatusOr<GradientTrimmer> GradientTrimmer::Create(int64_t dimension, const Options& options) {
  if (dimension < 1) {
    return InvalidField("DIMENSION_NOT_POSITIVE", "dimension",
                        absl::StrCat("dimension is ", dimension, ", but must be at least 1"));
  }
  if (!(options.fraction > 0 && options.fraction <= kLargestFraction)) {
    return InvalidField("TRIM_OUT_OF_RANGE", "trim",
                        absl::StrCat("trim is ", options.fraction, ", but must be above 0 and at most ",
                                     kLargestFraction, ": the share of the gradients to leave out"));
  }
  if (options.batch_size < kSmallestBatchSize) {
    return InvalidField(
        "TRIM_BATCH_SIZE", "batch_size",
        absl::StrCat("batch_size is ", options.batch_size, ", but trimming needs at least ", kSmallestBatchSize,
                     ": gradients of smaller batches have heavy tails that belong "
                     "to the Hessian; leave trim out"));
  }
  if (options.expected_count < 2) {
    return InvalidField("COUNT_NOT_POSITIVE", "count",
                        absl::StrCat("expected count is ", options.expected_count, ", but trimming needs to know it"));
  }
  const double d = static_cast<double>(dimension);
  const double rows = static_cast<double>(DroppedOf(options.expected_count, options.fraction)) +
                      std::max(static_cast<double>(kSmallestPilot), 2 * d);
  GRADORACLE_RETURN_IF_ERROR(CheckBytes(dimension, sizeof(double) * (rows * d + 3 * d * d), "trimming"));
  return GradientTrimmer(dimension, options);
}

absl::Status GradientTrimmer::Add(const Eigen::Ref<const RowMajorMatrix>& gradients, GradientSink sink) {
  if (gradients.cols() != held_.cols()) {
    return InvalidField("DIMENSION_MISMATCH", "gradients",
                        absl::StrCat("gradients: dimension is ", gradients.cols(), ", but must be ", held_.cols()));
  }
  if (count_ + gradients.rows() > options_.expected_count) {
    return FieldOutOfRange(
        "COUNT_TOO_LARGE", "count",
        absl::StrCat("count: more gradients came than the ", options_.expected_count, " that were announced"));
  }
  if (!gradients.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: every entry must be finite");
  }
  count_ += gradients.rows();
  int64_t begin = 0;
  if (piloting_) {
    begin = std::min(gradients.rows(), pilot_.rows() - pilot_count_);
    pilot_.middleRows(pilot_count_, begin) = gradients.topRows(begin);
    pilot_count_ += begin;
    if (pilot_count_ < pilot_.rows()) return absl::OkStatus();
    GRADORACLE_RETURN_IF_ERROR(EndPilot(sink));
  }
  if (begin == gradients.rows()) return absl::OkStatus();
  return Pass(gradients.bottomRows(gradients.rows() - begin), sink);
}

absl::Status GradientTrimmer::Finish(GradientSink sink) {
  if (piloting_ && pilot_count_ > 0) GRADORACLE_RETURN_IF_ERROR(EndPilot(sink));
  dropped_ = std::min<int64_t>(DroppedOf(count_, options_.fraction), static_cast<int64_t>(heap_.size()));
  // Of a stream that ended early too many were held back.
  std::sort(heap_.begin(), heap_.end());
  const int64_t kept = static_cast<int64_t>(heap_.size()) - dropped_;
  if (kept == 0) return absl::OkStatus();
  RowMajorMatrix rows(kept, held_.cols());
  for (int64_t row = 0; row < kept; ++row) rows.row(row) = held_.row(heap_[row].second);
  return sink(rows);
}

absl::Status GradientTrimmer::EndPilot(GradientSink sink) {
  piloting_ = false;
  const RowMajorMatrix pilot = pilot_.topRows(pilot_count_);
  pilot_.resize(0, 0);
  centre_ = MedianOfColumns(pilot);
  // Of the pilot as many again are left out as of the stream: it may hold more of the faulty ones by chance.
  const int64_t inner = std::max<int64_t>(std::min<int64_t>(2, pilot.rows()),
                                          pilot.rows() - DroppedOf(pilot.rows(), std::min(2 * options_.fraction, 0.5)));
  Eigen::VectorXd distances = (pilot.rowwise() - centre_.transpose()).rowwise().squaredNorm();
  for (int refinement = 0; refinement < kRefinements; ++refinement) {
    factor_ = ShrunkCovarianceOf(NearestRows(pilot, distances, inner)).llt().matrixL();
    distances = Distances(pilot);
  }
  return Pass(pilot, sink);
}

absl::Status GradientTrimmer::Pass(const Eigen::Ref<const RowMajorMatrix>& gradients, GradientSink sink) {
  const Eigen::VectorXd distances = Distances(gradients);
  RowMajorMatrix passed(gradients.rows(), gradients.cols());
  int64_t passed_count = 0;
  for (int64_t row = 0; row < gradients.rows(); ++row) {
    if (static_cast<int64_t>(heap_.size()) < held_.rows()) {
      held_.row(static_cast<int64_t>(heap_.size())) = gradients.row(row);
      heap_.emplace_back(distances(row), static_cast<int64_t>(heap_.size()));
      std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
    } else if (distances(row) > heap_.front().first) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      const int64_t slot = heap_.back().second;
      passed.row(passed_count++) = held_.row(slot);
      held_.row(slot) = gradients.row(row);
      heap_.back() = {distances(row), slot};
      std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
    } else {
      passed.row(passed_count++) = gradients.row(row);
    }
  }
  return passed_count == 0 ? absl::OkStatus() : sink(passed.topRows(passed_count));
}

Eigen::VectorXd GradientTrimmer::Distances(const Eigen::Ref<const RowMajorMatrix>& gradients) const {
  Eigen::MatrixXd centred = gradients.transpose().colwise() - centre_;
  factor_.triangularView<Eigen::Lower>().solveInPlace(centred);
  return centred.colwise().squaredNorm();
}

double TrimmingCorrection(int64_t dimension, double fraction) {
  if (fraction <= 0) return 1;
  const double d = static_cast<double>(dimension);
  const double cut = boost::math::quantile(boost::math::chi_squared(d), 1 - fraction);
  return (1 - fraction) / boost::math::cdf(boost::math::chi_squared(d + 2), cut);
}

namespace {

int64_t DroppedOf(int64_t count, double fraction) {
  return static_cast<int64_t>(std::ceil(fraction * static_cast<double>(count)));
}

RowMajorMatrix NearestRows(const RowMajorMatrix& rows, const Eigen::VectorXd& distances, int64_t kept) {
  std::vector<int64_t> order(rows.rows());
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + (kept - 1), order.end(),
                   [&](int64_t a, int64_t b) { return distances(a) < distances(b); });
  RowMajorMatrix nearest(kept, rows.cols());
  for (int64_t row = 0; row < kept; ++row) nearest.row(row) = rows.row(order[row]);
  return nearest;
}

Eigen::VectorXd MedianOfColumns(const RowMajorMatrix& rows) {
  Eigen::VectorXd median(rows.cols());
  std::vector<double> values(rows.rows());
  for (int64_t column = 0; column < rows.cols(); ++column) {
    for (int64_t row = 0; row < rows.rows(); ++row) values[row] = rows(row, column);
    const auto middle = values.begin() + rows.rows() / 2;
    std::nth_element(values.begin(), middle, values.end());
    median(column) = *middle;
  }
  return median;
}

// Positive definite, also of fewer rows than columns.
Eigen::MatrixXd ShrunkCovarianceOf(const RowMajorMatrix& rows) {
  const int64_t d = rows.cols();
  if (rows.rows() < 2) return Eigen::MatrixXd::Identity(d, d);
  const RowMajorMatrix centred = rows.rowwise() - rows.colwise().mean();
  const Eigen::MatrixXd covariance = centred.transpose() * centred / static_cast<double>(rows.rows() - 1);
  const double level = covariance.trace() / static_cast<double>(d);
  if (!(level > 0)) return Eigen::MatrixXd::Identity(d, d);
  const double fourth_moment = centred.rowwise().squaredNorm().squaredNorm();
  // Collinear features, or rows that are all but equal: never less than a thousandth of the mean variance.
  const double intensity = std::max(1e-3, LedoitWolfIntensity(covariance, rows.rows(), fourth_moment));
  return ShrinkTowardsIdentity(covariance, intensity);
}

}  // namespace
}  // namespace gradoracle
