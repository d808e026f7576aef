#include "server/service/gradient_stream_reactor.h"

#include <algorithm>
#include <utility>

#include "proto/reaction_order.h"
#include "proto/status_conversion.h"
#include "server/operations/failpoint.h"

namespace gradoracle {

GradientStreamReactor::GradientStreamReactor(std::unique_ptr<CallRecord> record, const WriterFactory& make_writer,
                                             ComputePool* pool, int64_t first, int64_t chunk_gradients)
    : record_(std::move(record)),
      pool_(pool),
      chunk_gradients_(chunk_gradients),
      writer_(make_writer(&cancelled_)),
      next_(first),
      charge_next_(first) {
  Handle({Event::kStarted, absl::OkStatus()});
}

void GradientStreamReactor::OnWriteDone(bool ok) {
  InReaction(this);
  if (!ok) cancelled_ = true;
  ReachFailpoint("mid_reply");
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

// The one place where the state changes. gRPC, the pool and the ledger are only told after the lock is released: gRPC
// may run a reaction inside StartWrite, the ledger may refuse at once, and after the last of the actions this object
// may be gone. It cannot be gone before: Finish is called only when nothing is computed, written or charged, and each
// action announced itself in slots_ or charging_ under the lock.
void GradientStreamReactor::Handle(const Event& event) {
  int compute = -1;
  int write = -1;
  int64_t charge = -1;
  bool finish = false;
  absl::Status final_status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    if (event.kind == Event::kCharged) {
      charging_ = false;
      charge_status_ = event.status;
      if (event.status.ok()) charge_next_ = ChunkEnd(charge_next_);
    } else {
      status_.Update(event.status);
    }
    if (cancelled_) status_.Update(absl::CancelledError("the caller cancelled"));
    if (event.kind == Event::kComputed) slots_[1 - compute_slot_] = Slot::kFull;
    if (event.kind == Event::kWritten) {
      const v1::StreamGradientsResponse& sent = messages_[1 - write_slot_];
      if (event.status.ok()) record_->AddSent(sent.gradient_count(), static_cast<int64_t>(sent.gradients().size()));
      slots_[1 - write_slot_] = Slot::kEmpty;
    }
    const bool computing = slots_[0] == Slot::kComputing || slots_[1] == Slot::kComputing;
    const bool writing = slots_[0] == Slot::kWriting || slots_[1] == Slot::kWriting;
    if (status_.ok()) {
      if (!writing && slots_[write_slot_] == Slot::kFull) {
        write = write_slot_;
        slots_[write] = Slot::kWriting;
        write_slot_ = 1 - write_slot_;
      }
      if (!computing && slots_[compute_slot_] == Slot::kEmpty && next_ < charge_next_) {
        compute = compute_slot_;
        slots_[compute] = Slot::kComputing;
        compute_slot_ = 1 - compute_slot_;
        messages_[compute].set_first_gradient(next_);
        messages_[compute].set_gradient_count(ChunkEnd(next_) - next_);
        next_ = ChunkEnd(next_);
      }
      if (!charging_ && charge_status_.ok() && charge_next_ == next_ && charge_next_ < writer_->count()) {
        charge = charge_next_;
        charging_ = true;
      }
    }
    const bool busy = computing || writing || charging_ || compute >= 0 || write >= 0;
    finish = !busy;
    finished_ = finish;
    final_status = status_.ok() ? charge_status_ : status_;
  }
  BeforeReactions(this);
  if (compute >= 0) pool_->Schedule([this, compute] { Compute(compute); });
  if (write >= 0) StartWrite(&messages_[write]);
  if (charge >= 0) {
    writer_->Charge(charge, ChunkEnd(charge) - charge, [this](const absl::Status& charged) {
      Handle({Event::kCharged, charged});
    });
  }
  if (finish) {
    record_->Finish(final_status);
    Finish(ToGrpcStatus(final_status));
  }
}

int64_t GradientStreamReactor::ChunkEnd(int64_t first) const {
  return first + std::min(chunk_gradients_, writer_->count() - first);
}

void GradientStreamReactor::Compute(int slot) {
  v1::StreamGradientsResponse& message = messages_[slot];
  const absl::Status status =
      writer_->Write(message.first_gradient(), message.gradient_count(), *message.mutable_gradients());
  Handle({Event::kComputed, status});
}

}  // namespace gradoracle
