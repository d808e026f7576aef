#include "client/audit/attacked_source.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {

AttackedSource::AttackedSource(GradientSource& source, const std::atomic<bool>* stop,
                               std::function<void(int64_t)> arrived)
    : source_(source), stop_(stop), arrived_(std::move(arrived)) {}

absl::StatusOr<OracleInfo> AttackedSource::Info() {
  GRADORACLE_ASSIGN_OR_RETURN(OracleInfo info, source_.Info());
  max_count_ = info.limits.max_count;
  info.limits.max_count = std::numeric_limits<int64_t>::max();
  if (info.defence.weights_grid.has_value()) {
    const double farthest = *info.defence.weights_grid / 2 * std::sqrt(static_cast<double>(info.dimension));
    info.limits.max_weights_norm = std::max(info.limits.max_weights_norm - farthest, info.limits.max_weights_norm / 2);
  }
  return info;
}

absl::Status AttackedSource::Gradients(const GradientQuery& query, GradientSink sink) {
  if (max_count_ == 0) GRADORACLE_RETURN_IF_ERROR(Info().status());
  GradientQuery piece = query;
  for (int64_t left = query.count; left > 0; left -= piece.count) {
    piece.count = std::min(left, max_count_);
    GRADORACLE_RETURN_IF_ERROR(source_.Gradients(piece, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
      if (stop_ != nullptr && stop_->load(std::memory_order_relaxed)) {
        return MakeError(absl::StatusCode::kCancelled, "INTERRUPTED", "", "the attack was stopped");
      }
      gradients_ += block.rows();
      if (arrived_) arrived_(block.rows());
      return sink(block);
    }));
  }
  return absl::OkStatus();
}

}  // namespace gradoracle
