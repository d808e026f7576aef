#include "server/gradient_stream_reactor.h"

#include <algorithm>

#include "proto/reaction_order.h"
#include "proto/status_conversion.h"

namespace gradoracle {

GradientStreamReactor::GradientStreamReactor(const WriterFactory& make_writer, ComputePool* pool, int64_t first,
                                             int64_t chunk_gradients)
    : pool_(pool), chunk_gradients_(chunk_gradients), writer_(make_writer(&cancelled_)), next_(first) {
  Handle({Event::kStarted, absl::OkStatus()});
}

void GradientStreamReactor::OnWriteDone(bool ok) {
  InReaction(this);
  if (!ok) cancelled_ = true;
  Handle({Event::kWritten, ok ? absl::OkStatus() : absl::CancelledError("the stream broke")});
}

void GradientStreamReactor::OnCancel() {
  InReaction(this);
  cancelled_ = true;
  Handle({Event::kCancelled, absl::CancelledError("the caller cancelled")});
}

void GradientStreamReactor::OnDone() {
  InReaction(this);
  delete this;
}

// The one place where the state changes. gRPC calls and the pool are only told after the lock is released: gRPC may run
// a reaction inside StartWrite, and after the last of the actions this object may be gone. It cannot be gone before:
// Finish is called only when no slot is computing or writing, and each action announced itself in slots_ under the
// lock.
void GradientStreamReactor::Handle(const Event& event) {
  int compute = -1;
  int write = -1;
  bool finish = false;
  absl::Status final_status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    if (event.kind == Event::kComputed) slots_[1 - compute_slot_] = Slot::kFull;
    if (event.kind == Event::kWritten) slots_[1 - write_slot_] = Slot::kEmpty;
    status_.Update(event.status);
    const bool computing = slots_[0] == Slot::kComputing || slots_[1] == Slot::kComputing;
    const bool writing = slots_[0] == Slot::kWriting || slots_[1] == Slot::kWriting;
    if (status_.ok()) {
      if (!writing && slots_[write_slot_] == Slot::kFull) {
        write = write_slot_;
        slots_[write] = Slot::kWriting;
        write_slot_ = 1 - write_slot_;
      }
      if (!computing && slots_[compute_slot_] == Slot::kEmpty && next_ < writer_->count()) {
        compute = compute_slot_;
        slots_[compute] = Slot::kComputing;
        compute_slot_ = 1 - compute_slot_;
        const int64_t k = std::min(chunk_gradients_, writer_->count() - next_);
        messages_[compute].set_first_gradient(next_);
        messages_[compute].set_gradient_count(k);
        next_ += k;
      }
    }
    const bool busy = computing || writing || compute >= 0 || write >= 0;
    finish = !busy;
    finished_ = finish;
    final_status = status_;
  }
  BeforeReactions(this);
  if (compute >= 0) pool_->Schedule([this, compute] { Compute(compute); });
  if (write >= 0) StartWrite(&messages_[write]);
  if (finish) Finish(ToGrpcStatus(final_status));
}

void GradientStreamReactor::Compute(int slot) {
  v1::StreamGradientsResponse& message = messages_[slot];
  const absl::Status status =
      writer_->Write(message.first_gradient(), message.gradient_count(), *message.mutable_gradients());
  Handle({Event::kComputed, status});
}

}  // namespace gradoracle
