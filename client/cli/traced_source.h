#ifndef GRADORACLE_CLIENT_CLI_TRACED_SOURCE_H_
#define GRADORACLE_CLIENT_CLI_TRACED_SOURCE_H_

#include <memory>
#include <utility>

#include "client/cli/exit_code.h"
#include "core/errors.h"
#include "core/gradient_source.h"

namespace gradoracle {

// A source that remembers whether it refused or failed, so that an error that has come up through a computation still
// tells whose it was.
class TracedSource : public GradientSource {
 public:
  explicit TracedSource(std::unique_ptr<GradientSource> source) : source_(std::move(source)) {}

  absl::StatusOr<OracleInfo> Info() override {
    absl::StatusOr<OracleInfo> info = source_->Info();
    failed_ = failed_ || !info.ok();
    return info;
  }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    bool sink_failed = false;
    absl::Status status = source_->Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
      absl::Status taken = sink(block);
      sink_failed = sink_failed || !taken.ok();
      return taken;
    });
    failed_ = failed_ || (!status.ok() && !sink_failed);
    return status;
  }

  bool failed() const { return failed_; }

  // Of an error met while computing with this source: the oracle's, the user's (arguments that do not fit), or neither.
  ErrorOrigin OriginOf(const absl::Status& status) const {
    // What the oracle would have refused, seen before it was asked.
    if (failed_ || ErrorReason(status) == "WEIGHTS_DIMENSION") return ErrorOrigin::kOracle;
    switch (status.code()) {
      case absl::StatusCode::kInvalidArgument:
      case absl::StatusCode::kOutOfRange:
        return ErrorOrigin::kUsage;
      default:
        return ErrorOrigin::kRun;
    }
  }

 private:
  std::unique_ptr<GradientSource> source_;
  bool failed_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_TRACED_SOURCE_H_
