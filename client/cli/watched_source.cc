#include "client/cli/watched_source.h"

#include "absl/time/clock.h"

namespace gradoracle {

WatchedSource::WatchedSource(GradientSource& source, int64_t total, NpyWriter* recording, Environment& environment)
    : source_(source), total_(total), recording_(recording), environment_(environment) {}

absl::Status WatchedSource::Gradients(const GradientQuery& query, GradientSink sink) {
  if (!start_.has_value()) {
    start_ = last_ = absl::Now();
    progress_.emplace(environment_.progress ? &environment_.err : nullptr, total_, *start_);
  }
  absl::Status sink_status;
  absl::Status status = source_.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
    if (recording_ != nullptr) sink_status = recording_->Append({block.data(), static_cast<size_t>(block.size())});
    if (!sink_status.ok()) return sink_status;
    count_ += block.rows();
    dimension_ = block.cols();
    last_ = absl::Now();
    progress_->Update(count_, last_);
    sink_status = sink(block);
    return sink_status;
  });
  source_failed_ = !status.ok() && sink_status.ok();
  return status;
}

}  // namespace gradoracle
