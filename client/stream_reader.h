#ifndef GRADORACLE_CLIENT_STREAM_READER_H_
#define GRADORACLE_CLIENT_STREAM_READER_H_

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "absl/time/time.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace gradoracle {

// One StreamGradients call, read ahead by up to kSlots messages: gRPC's threads receive and parse the next chunk while
// the caller's thread works on the current one; when it falls behind, nothing more is asked for (back-pressure).
// One thread uses it. Destroying it cancels the call and waits for its end, some milliseconds.
class StreamReader final : public grpc::ClientReadReactor<v1::StreamGradientsResponse> {
 public:
  // Starts the call, with an `authorization` header unless that is empty. `stub` must outlive this.
  StreamReader(v1::OracleService::Stub* stub, const v1::StreamGradientsRequest& request,
               const std::string& authorization = "");
  ~StreamReader() override;
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  enum class Outcome { kMessage, kEnd, kTimeout };
  // Waits at most `timeout` for the next message or the end. A message is valid until the next call of Next.
  Outcome Next(absl::Duration timeout, const v1::StreamGradientsResponse** message);
  // After kEnd.
  const grpc::Status& status() const { return status_; }

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  static constexpr int64_t kSlots = 3;

  void Release();

  grpc::ClientContext context_;
  const v1::StreamGradientsRequest request_;
  std::array<v1::StreamGradientsResponse, kSlots> messages_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Messages are numbered from 0; number i lives in slot i % kSlots. All guarded by mutex_.
  int64_t released_ = 0;  // numbers below are done with
  int64_t received_ = 0;  // numbers below have arrived
  bool holding_ = false;  // number released_ is in the caller's hands
  bool reading_ = false;  // a read, of number received_, is outstanding
  bool ended_ = false;    // no further message comes
  bool closing_ = false;  // being destroyed: the outstanding read is the last
  bool done_ = false;     // gRPC is done with this object
  grpc::Status status_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_STREAM_READER_H_
