#include "client/stream_reader.h"

#include "absl/time/clock.h"
#include "proto/reaction_order.h"

namespace gradoracle {

// Reads are started outside of reactions too (by Release), so the call is held from being done until its end is seen.
StreamReader::StreamReader(v1::OracleService::Stub* stub, const v1::StreamGradientsRequest& request,
                           const std::string& authorization)
    : request_(request), reading_(true) {
  if (!authorization.empty()) context_.AddMetadata("authorization", authorization);
  BeforeReactions(this);
  stub->async()->StreamGradients(&context_, &request_, this);
  AddHold();
  StartRead(&messages_[0]);
  StartCall();
}

StreamReader::~StreamReader() {
  context_.TryCancel();
  std::unique_lock<std::mutex> lock(mutex_);
  closing_ = true;
  if (!ended_ && !reading_) {  // no reaction will see the end
    ended_ = true;
    lock.unlock();
    RemoveHold();
    lock.lock();
  }
  changed_.wait(lock, [this] { return done_; });
}

StreamReader::Outcome StreamReader::Next(absl::Duration timeout, const v1::StreamGradientsResponse** message) {
  Release();
  std::unique_lock<std::mutex> lock(mutex_);
  const auto ready = [this] { return released_ < received_ || done_; };
  if (!changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), ready)) return Outcome::kTimeout;
  if (released_ == received_) return Outcome::kEnd;
  holding_ = true;
  *message = &messages_[released_ % kSlots];
  return Outcome::kMessage;
}

// Gives the slot in the caller's hands back, and asks for the next message if reading had stopped for want of a slot.
void StreamReader::Release() {
  int64_t number = -1;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (holding_) ++released_;
    holding_ = false;
    if (!ended_ && !reading_ && received_ - released_ < kSlots) {
      reading_ = true;
      number = received_;
    }
  }
  BeforeReactions(this);
  if (number >= 0) StartRead(&messages_[number % kSlots]);
}

void StreamReader::OnReadDone(bool ok) {
  InReaction(this);
  int64_t number = -1;
  bool last = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    reading_ = false;
    last = !ok || closing_;  // while closing nobody frees a slot, so nobody would start another read
    if (!last) {
      ++received_;
      if (received_ - released_ < kSlots) {
        reading_ = true;
        number = received_;
      }
    } else {
      ended_ = true;
    }
    changed_.notify_one();
  }
  BeforeReactions(this);
  if (number >= 0) StartRead(&messages_[number % kSlots]);
  if (last) RemoveHold();
}

// The waiting thread may destroy this object as soon as it can take the lock: nothing after it.
void StreamReader::OnDone(const grpc::Status& status) {
  InReaction(this);
  const std::lock_guard<std::mutex> lock(mutex_);
  status_ = status;
  done_ = true;
  changed_.notify_one();
}

}  // namespace gradoracle
