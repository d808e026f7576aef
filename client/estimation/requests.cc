#include "client/estimation/requests.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {

Requests::Requests(GradientSource& source, int64_t budget, ProgressFunction progress, absl::Status* failure)
    : source_(source), budget_(budget), progress_(std::move(progress)), failure_(failure) {}

absl::Status Requests::Send(const GradientQuery& query, GradientSink sink) {
  if (stopped_) return absl::OkStatus();
  if (query.count > remaining()) {
    return absl::InternalError(absl::StrCat("asked for ", query.count, " gradients with ", remaining(), " left"));
  }
  int64_t received = 0;
  absl::Status sink_status;
  const absl::Status status = source_.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    sink_status = sink(block);
    if (!sink_status.ok()) return sink_status;
    received += block.rows();
    gathered_ += block.rows();
    stopped_ = progress_ && !progress_(gathered_);
    return stopped_ ? absl::CancelledError("stopped by the caller") : absl::OkStatus();
  });
  GRADORACLE_RETURN_IF_ERROR(sink_status);
  // A source that waits for its next block may itself have been interrupted.
  if (!status.ok() && !stopped_) stopped_ = progress_ && !progress_(gathered_);
  if (!status.ok() && !stopped_ && failure_ != nullptr && gathered_ > 0) {
    *failure_ = status;
    stopped_ = true;
  }
  if (stopped_) return absl::OkStatus();
  GRADORACLE_RETURN_IF_ERROR(status);
  if (received == query.count) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, "COUNT_MISMATCH", "count",
                   absl::StrCat("count: asked for ", query.count, " gradients, got ", received));
}

absl::StatusOr<RowMajorMatrix> Requests::Fetch(const GradientQuery& query) {
  RowMajorMatrix gradients;
  int64_t filled = 0;
  GRADORACLE_RETURN_IF_ERROR(Send(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) -> absl::Status {
    if (gradients.size() == 0) gradients.resize(query.count, block.cols());
    if (block.cols() != gradients.cols() || filled + block.rows() > gradients.rows()) {
      return MakeError(absl::StatusCode::kDataLoss, "COUNT_MISMATCH", "count",
                       absl::StrCat("count: asked for ", query.count, " gradients, got more, or of another dimension"));
    }
    gradients.middleRows(filled, block.rows()) = block;
    filled += block.rows();
    return absl::OkStatus();
  }));
  if (filled == 0) return RowMajorMatrix(0, query.weights.size());  // stopped at once
  gradients.conservativeResize(filled, gradients.cols());
  if (!gradients.allFinite()) {
    return InvalidField("NOT_FINITE", "gradients", "gradients: a NaN or infinite entry; every entry must be finite");
  }
  return gradients;
}

}  // namespace gradoracle
