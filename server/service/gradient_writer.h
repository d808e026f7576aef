#ifndef GRADORACLE_SERVER_SERVICE_GRADIENT_WRITER_H_
#define GRADORACLE_SERVER_SERVICE_GRADIENT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "core/gradient_engine.h"
#include "core/regression_data.h"
#include "proto/conversion.h"
#include "server/admission/admission.h"

namespace gradoracle {

// Computes ranges of one admitted query, which were charged, straight into payloads. Not thread-safe.
class GradientWriter {
 public:
  using OnComputed = std::function<void(int64_t first_gradient, int64_t gradient_count)>;
  // `cancelled` is looked at between pieces of a few milliseconds of work.
  GradientWriter(std::unique_ptr<AdmittedQuery> admitted, GradientStream stream, ElementType element_type,
                 const std::atomic<bool>* cancelled, OnComputed on_computed);

  int64_t count() const { return admitted_->query().count; }
  int64_t dimension() const { return admitted_->query().weights.size(); }

  // AdmittedQuery::Charge, which must have succeeded before the same range is written; may be under way while an
  // earlier one is.
  void Charge(int64_t first, int64_t k, Ledger::Done done) { admitted_->Charge(first, k, std::move(done)); }

  // Makes gradients [first, first + k) the whole of `payload`, whose memory is reused. Errors: kCancelled.
  absl::Status Write(int64_t first, int64_t k, std::string& payload);

 private:
  const std::unique_ptr<AdmittedQuery> admitted_;
  GradientStream stream_;
  const ElementType element_type_;
  const std::atomic<bool>* const cancelled_;
  const OnComputed on_computed_;
  const int64_t piece_;     // gradients computed between looks at `cancelled`
  RowMajorMatrix scratch_;  // (<= piece, d), for payloads that are no aligned doubles
};

// Gradients in one chunk: as many as fit 256 KiB, and no more than about 100 ms of work (so that slow gradients arrive
// as they are computed), at most max_chunk_gradients unless that is 0, at least one. A function of the request alone.
int64_t ChunkGradients(const GradientQuery& query, const StreamOptions& options);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVICE_GRADIENT_WRITER_H_
