#ifndef GRADORACLE_CLIENT_AUDIT_PARTICIPATION_SOURCE_H_
#define GRADORACLE_CLIENT_AUDIT_PARTICIPATION_SOURCE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/defence/participation.h"
#include "core/errors.h"
#include "core/gradient_source.h"

namespace gradoracle {

// A simulated oracle that keeps --max-participation as the server's ledger does: a request is charged the epochs it
// begins, and refused beyond the cap. The books are one caller's, from the making of this source on.
class ParticipationSource : public GradientSource {
 public:
  ParticipationSource(std::unique_ptr<GradientSource> source, int64_t row_count, int64_t largest)
      : source_(std::move(source)), row_count_(row_count), left_(largest) {}

  absl::StatusOr<OracleInfo> Info() override { return source_->Info(); }
  // Errors: kResourceExhausted PARTICIPATION_EXHAUSTED; the source's.
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    if (query.count >= 1 && query.batch_size >= 1 && query.batch_size <= row_count_) {
      const int64_t uses = LargestParticipation(Sampling::kShuffledEpochs, row_count_, query.batch_size, query.count);
      if (uses > left_) {
        return MakeError(absl::StatusCode::kResourceExhausted, "PARTICIPATION_EXHAUSTED", "count",
                         absl::StrFormat("%d gradients of %d rows use a row up to %d times, but of --max-participation "
                                         "%d uses are left",
                                         query.count, query.batch_size, uses, left_));
      }
      left_ -= uses;
    }
    return source_->Gradients(query, sink);
  }

 private:
  std::unique_ptr<GradientSource> source_;
  int64_t row_count_;
  int64_t left_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_PARTICIPATION_SOURCE_H_
