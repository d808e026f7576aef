#ifndef GRADORACLE_CLIENT_AUDIT_CLAIMING_SOURCE_H_
#define GRADORACLE_CLIENT_AUDIT_CLAIMING_SOURCE_H_

#include <memory>
#include <utility>

#include "core/gradient_source.h"

namespace gradoracle {

// A source that says of itself what it is told to say: an oracle whose noise is not what it claims, or an attacker who
// keeps within narrower limits than the oracle's.
class ClaimingSource : public GradientSource {
 public:
  ClaimingSource(std::unique_ptr<GradientSource> source, OracleInfo claim)
      : source_(std::move(source)), claim_(std::move(claim)) {}

  absl::StatusOr<OracleInfo> Info() override { return claim_; }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    return source_->Gradients(query, sink);
  }

 private:
  std::unique_ptr<GradientSource> source_;
  OracleInfo claim_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_CLAIMING_SOURCE_H_
