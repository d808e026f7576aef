#ifndef GRADORACLE_CLIENT_ESTIMATION_REQUESTS_H_
#define GRADORACLE_CLIENT_ESTIMATION_REQUESTS_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/gradient_source.h"

namespace gradoracle {

// Called with the gradients gathered so far, over all requests, whenever more have come; false stops the asking.
using ProgressFunction = std::function<bool(int64_t gathered)>;

// The requests of one estimate: counts what they bring, never asks for more than `budget` in all, and lets the caller
// stop. Not thread-safe.
class Requests {
 public:
  // `source` must outlive this. `progress` may be empty. `failure`, unless null, takes the error of a source that fails
  // after the first gradient: that is then a stop, no error, so that what has come can be made use of.
  Requests(GradientSource& source, int64_t budget, ProgressFunction progress, absl::Status* failure = nullptr);

  // Sends `query`; its gradients go to `sink`. OK with fewer than asked for, or none, once stopped() is true.
  // Errors: those of the source and of the sink; kDataLoss COUNT_MISMATCH; kInternal above the budget.
  absl::Status Send(const GradientQuery& query, GradientSink sink);
  // The same, into one matrix of shape (k, d), k < query.count only when stopped.
  absl::StatusOr<RowMajorMatrix> Fetch(const GradientQuery& query);

  int64_t gathered() const { return gathered_; }
  int64_t remaining() const { return budget_ - gathered_; }
  bool stopped() const { return stopped_; }
  bool failed() const { return failure_ != nullptr && !failure_->ok(); }  // stopped by the source

 private:
  GradientSource& source_;
  int64_t budget_;
  ProgressFunction progress_;
  absl::Status* failure_;
  int64_t gathered_ = 0;
  bool stopped_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_REQUESTS_H_
