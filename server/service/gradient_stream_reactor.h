#ifndef GRADORACLE_SERVER_SERVICE_GRADIENT_STREAM_REACTOR_H_
#define GRADORACLE_SERVER_SERVICE_GRADIENT_STREAM_REACTOR_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "core/compute_pool.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "server/service/call_record.h"
#include "server/service/gradient_writer.h"

namespace gradoracle {

// Sends gradients [first, count) of one query in chunks of `chunk_gradients`. While chunk k is being written, chunk k +
// 1 is computed in the pool and chunk k + 2 is charged, so that the ledger's sync costs no time; with at most one write
// outstanding and two chunks in memory, a slow reader stops the work. When a charge is refused, what was charged before
// is still sent. What a stream that breaks off has been charged
// and not sent is at most three chunks; a named request that is resumed gets them free. Deletes itself.
class GradientStreamReactor final : public grpc::ServerWriteReactor<v1::StreamGradientsResponse> {
 public:
  using WriterFactory = std::function<std::unique_ptr<GradientWriter>(const std::atomic<bool>* cancelled)>;

  GradientStreamReactor(std::unique_ptr<CallRecord> record, const WriterFactory& make_writer, ComputePool* pool,
                        int64_t first, int64_t chunk_gradients);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  enum class Slot { kEmpty, kComputing, kFull, kWriting };
  struct Event {
    enum Kind { kStarted, kCharged, kComputed, kWritten, kCancelled } kind;
    absl::Status status;
  };

  void Handle(const Event& event);
  void Compute(int slot);
  // Where the chunk that begins at `first` ends.
  int64_t ChunkEnd(int64_t first) const;

  const std::unique_ptr<CallRecord> record_;
  ComputePool* const pool_;
  const int64_t chunk_gradients_;
  std::atomic<bool> cancelled_{false};
  const std::unique_ptr<GradientWriter> writer_;
  // A slot's message belongs to the pool while computing, to gRPC while writing, to nobody otherwise.
  std::array<v1::StreamGradientsResponse, 2> messages_;

  std::mutex mutex_;
  std::array<Slot, 2> slots_ = {Slot::kEmpty, Slot::kEmpty};  // guarded by mutex_
  int compute_slot_ = 0;                                      // next to be computed into, guarded by mutex_
  int write_slot_ = 0;                                        // next to be written, guarded by mutex_
  int64_t next_;                                              // first gradient not yet scheduled, guarded by mutex_
  int64_t charge_next_;                                       // first gradient not yet charged, guarded by mutex_
  bool charging_ = false;                                     // [charge_next_, + a chunk), guarded by mutex_
  absl::Status status_;                                       // first failure that ends everything, guarded by mutex_
  absl::Status charge_status_;  // of the last charge: a refusal lets go out what is paid for, guarded by mutex_
  bool finished_ = false;       // guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVICE_GRADIENT_STREAM_REACTOR_H_
