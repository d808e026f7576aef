#ifndef GRADORACLE_CLIENT_AUDIT_ATTACKED_SOURCE_H_
#define GRADORACLE_CLIENT_AUDIT_ATTACKED_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "core/gradient_source.h"

namespace gradoracle {

// A source as an attacker uses it: a question larger than limits.max_count is asked in pieces, since nothing but the
// budget hinders that; what arrives is counted, and the attack can be stopped from another thread.
class AttackedSource : public GradientSource {
 public:
  // All must outlive this. `stop` may be null. `arrived` may be empty; it is told of every block's gradients.
  AttackedSource(GradientSource& source, const std::atomic<bool>* stop, std::function<void(int64_t)> arrived = {});

  // The oracle's, without its max_count, and on a grid of weights with a norm from which no rounding leads over the
  // limit.
  absl::StatusOr<OracleInfo> Info() override;
  // Errors: the source's; kCancelled INTERRUPTED once `stop` is set.
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override;

  int64_t gradients() const { return gradients_; }

 private:
  GradientSource& source_;
  const std::atomic<bool>* stop_;
  std::function<void(int64_t)> arrived_;
  int64_t gradients_ = 0;
  int64_t max_count_ = 0;  // 0: not asked yet
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_ATTACKED_SOURCE_H_
