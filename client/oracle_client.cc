#include "client/oracle_client.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/channel_credentials.h"
#include "client/connection.h"
#include "client/stream_reader.h"
#include "client/tls_diagnosis.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "proto/conversion.h"
#include "proto/status_conversion.h"

namespace gradoracle {
namespace {

// How often `cancelled` is looked at while waiting.
constexpr absl::Duration kPoll = absl::Milliseconds(50);
// The description of an oracle may list many feature names.
constexpr int64_t kMaxInfoBytes = 64 << 20;
// For finding out why TLS failed.
constexpr absl::Duration kDiagnosisTimeout = absl::Seconds(3);

// A channel and what is called over it.
struct Connection {
  explicit Connection(const std::shared_ptr<grpc::Channel>& channel) : stub(channel) {}
  v1::OracleService::Stub stub;
};

// How one attempt at a stream ended.
struct Attempt {
  absl::Status status;
  bool resumable = false;
};

// Takes the messages of a stream apart. `received` is where in the request it stands.
class ChunkDecoder {
 public:
  ChunkDecoder(const GradientQuery& query, ElementType element_type) : query_(query), element_type_(element_type) {}

  int64_t received() const { return received_; }
  // Everything has arrived. (A count of 0 is the oracle's to refuse: nothing arrived is never everything.)
  bool complete() const { return received_ > 0 && received_ == query_.count; }
  // Hands the gradients of `message` to `sink`, in place where memory allows. Errors: kDataLoss; the sink's.
  absl::Status Deliver(const v1::StreamGradientsResponse& message, GradientSink sink);

 private:
  const GradientQuery& query_;
  const ElementType element_type_;
  int64_t received_ = 0;
  RowMajorMatrix block_;
};

class RemoteOracle final : public OracleClient {
 public:
  RemoteOracle(std::string target, ChannelFactory open_channel, const OracleClientOptions& options,
               std::string authorization)
      : target_(std::move(target)),
        open_channel_(std::move(open_channel)),
        options_(options),
        authorization_(std::move(authorization)) {}

  absl::StatusOr<OracleInfo> Info() override;
  absl::StatusOr<Eigen::VectorXd> Gradient(const GradientQuery& query) override;
  absl::StatusOr<gradoracle::Budget> Budget() override;
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override;

 private:
  using OnDone = std::function<void(grpc::Status)>;

  absl::StatusOr<std::shared_ptr<Connection>> ConnectionForGradients();
  absl::Status CallUnary(const std::function<void(grpc::ClientContext*, OnDone)>& start);
  absl::StatusOr<gradoracle::Budget> AskBudget(Connection& connection);
  absl::Status CheckBudgetFor(const GradientQuery& query, Connection& connection);
  Attempt ReadStream(Connection& connection, const GradientQuery& query, ChunkDecoder& decoder, GradientSink sink);
  absl::Status Explain(const absl::Status& status, absl::Duration deadline) const;
  bool cancelled() const { return options_.cancelled != nullptr && options_.cancelled->load(); }
  bool SleepUnlessCancelled(absl::Duration duration) const;
  ElementType element_type() const { return options_.float32 ? ElementType::kFloat32 : ElementType::kFloat64; }

  const std::string target_;
  const ChannelFactory open_channel_;
  const OracleClientOptions options_;
  const std::string authorization_;

  std::mutex mutex_;
  std::optional<OracleInfo> info_;                    // guarded by mutex_
  std::shared_ptr<Connection> gradients_connection_;  // set with info_, whose dimension limits its messages
};

absl::StatusOr<GradientQuery> Named(const GradientQuery& query);
absl::Status Cancelled();
absl::Status WithAdvice(const absl::Status& status, absl::string_view advice);
absl::Duration Backoff(int attempt);

absl::StatusOr<OracleInfo> RemoteOracle::Info() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (info_.has_value()) return *info_;
  }
  Connection connection(open_channel_(ConnectionArguments(kMaxInfoBytes)));
  const v1::GetInfoRequest request;
  v1::GetInfoResponse response;
  GRADORACLE_RETURN_IF_ERROR(CallUnary([&](grpc::ClientContext* context, OnDone on_done) {
    connection.stub.async()->GetInfo(context, &request, &response, std::move(on_done));
  }));
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, InfoFromProto(response));
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!info_.has_value()) {
    info_ = info;
    gradients_connection_ =
        std::make_shared<Connection>(open_channel_(ConnectionArguments(MaxReceiveBytes(info.dimension))));
  }
  return *info_;
}

absl::StatusOr<Eigen::VectorXd> RemoteOracle::Gradient(const GradientQuery& query) {
  if (query.count != 1) {
    return InvalidField("COUNT_NOT_ONE", "count",
                        absl::StrCat("count is ", query.count, ", must be 1 for one gradient"));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, ConnectionForGradients());
  GRADORACLE_ASSIGN_OR_RETURN(const GradientQuery named, Named(query));  // a retry must not be a second request
  const v1::GetGradientRequest request = ToUnaryProto(named, element_type());
  v1::GetGradientResponse response;
  GRADORACLE_RETURN_IF_ERROR(CallUnary([&](grpc::ClientContext* context, OnDone on_done) {
    connection->stub.async()->GetGradient(context, &request, &response, std::move(on_done));
  }));
  RowMajorMatrix gradient(1, query.weights.size());
  GRADORACLE_RETURN_IF_ERROR(DecodeGradients(response.gradient(), element_type(), gradient));
  return Eigen::VectorXd(gradient.row(0));
}

absl::StatusOr<gradoracle::Budget> RemoteOracle::Budget() {
  Connection connection(open_channel_(ConnectionArguments(kMaxInfoBytes)));
  return AskBudget(connection);
}

absl::StatusOr<gradoracle::Budget> RemoteOracle::AskBudget(Connection& connection) {
  const v1::GetBudgetRequest request;
  v1::GetBudgetResponse response;
  GRADORACLE_RETURN_IF_ERROR(CallUnary([&](grpc::ClientContext* context, OnDone on_done) {
    connection.stub.async()->GetBudget(context, &request, &response, std::move(on_done));
  }));
  return BudgetFromProto(response);
}

// The server charges a stream chunk by chunk: one that the budget does not pay for would be refused halfway, with the
// first half spent. A single chunk is refused as a whole anyway, and what a named request has paid for is not known
// here.
absl::Status RemoteOracle::CheckBudgetFor(const GradientQuery& query, Connection& connection) {
  constexpr int64_t kChunkBytes = 256 * 1024;
  const int64_t d = std::max<int64_t>(1, query.weights.size());
  if (!query.request_id.empty() ||
      query.count <= kChunkBytes / (d * static_cast<int64_t>(ElementSize(element_type())))) {
    return absl::OkStatus();
  }
  const absl::StatusOr<gradoracle::Budget> budget = AskBudget(connection);
  if (!budget.ok() || !budget->limit.has_value() || query.count <= *budget->remaining()) return absl::OkStatus();
  const Quota quota = {*budget->limit, budget->spent, query.count, *budget->remaining()};
  return Explain(MakeQuotaError("BUDGET_EXHAUSTED", "your budget", quota), options_.deadline);
}

absl::Status RemoteOracle::Gradients(const GradientQuery& query, GradientSink sink) {
  GRADORACLE_ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, ConnectionForGradients());
  GRADORACLE_RETURN_IF_ERROR(CheckBudgetFor(query, *connection));
  GRADORACLE_ASSIGN_OR_RETURN(const GradientQuery named, Named(query));
  ChunkDecoder decoder(named, element_type());
  int resumptions = 0;  // in a row without a gradient in between
  while (true) {
    const int64_t before = decoder.received();
    const Attempt attempt = ReadStream(*connection, named, decoder, sink);
    if (attempt.status.ok()) return attempt.status;
    if (decoder.received() > before) resumptions = 0;
    if (!attempt.resumable || resumptions >= options_.max_resumptions) {
      return Explain(attempt.status, options_.stall_timeout);
    }
    if (!SleepUnlessCancelled(Backoff(resumptions++))) return Cancelled();
  }
}

absl::StatusOr<std::shared_ptr<Connection>> RemoteOracle::ConnectionForGradients() {
  GRADORACLE_RETURN_IF_ERROR(Info().status());
  const std::lock_guard<std::mutex> lock(mutex_);
  return gradients_connection_;
}

absl::Status RemoteOracle::CallUnary(const std::function<void(grpc::ClientContext*, OnDone)>& start) {
  if (cancelled()) return Cancelled();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + options_.deadline));
  if (!authorization_.empty()) context.AddMetadata("authorization", authorization_);
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<grpc::Status> status;
  start(&context, [&](grpc::Status result) {
    const std::lock_guard<std::mutex> lock(mutex);
    status = std::move(result);
    changed.notify_one();
  });
  bool stopped = false;
  std::unique_lock<std::mutex> lock(mutex);
  while (!changed.wait_for(lock, absl::ToChronoNanoseconds(kPoll), [&] { return status.has_value(); })) {
    if (!cancelled()) continue;
    stopped = true;
    lock.unlock();
    context.TryCancel();
    lock.lock();
  }
  if (stopped && !status->ok()) return Cancelled();
  return Explain(FromGrpcStatus(*status), options_.deadline);
}

Attempt RemoteOracle::ReadStream(Connection& connection, const GradientQuery& query, ChunkDecoder& decoder,
                                 GradientSink sink) {
  StreamOptions stream;
  stream.element_type = element_type();
  stream.first_gradient = decoder.received();
  StreamReader reader(&connection.stub, ToProto(query, stream), authorization_);
  absl::Time waiting_since = absl::Now();
  while (true) {
    if (cancelled()) return {Cancelled(), false};
    const v1::StreamGradientsResponse* message = nullptr;
    switch (reader.Next(kPoll, &message)) {
      case StreamReader::Outcome::kTimeout:
        if (absl::Now() - waiting_since < options_.stall_timeout) break;
        if (decoder.complete()) return {absl::OkStatus(), false};
        return {MakeError(absl::StatusCode::kUnavailable, "STREAM_STALLED", "",
                          absl::StrCat("oracle ", target_, " sent nothing for ",
                                       absl::FormatDuration(options_.stall_timeout))),
                true};
      case StreamReader::Outcome::kMessage: {
        const absl::Status status = decoder.Deliver(*message, sink);
        if (!status.ok()) return {status, false};
        waiting_since = absl::Now();  // the time the sink takes is not the oracle's
        break;
      }
      case StreamReader::Outcome::kEnd: {
        if (decoder.complete()) return {absl::OkStatus(), false};
        const absl::Status status = FromGrpcStatus(reader.status());
        if (!status.ok()) return {status, status.code() == absl::StatusCode::kUnavailable};
        return {MakeError(absl::StatusCode::kDataLoss, "STREAM_TRUNCATED", "count",
                          absl::StrCat("oracle ", target_, " ended the stream after ", decoder.received(), " of ",
                                       query.count, " gradients")),
                false};
      }
    }
  }
}

bool RemoteOracle::SleepUnlessCancelled(absl::Duration duration) const {
  const absl::Time end = absl::Now() + duration;
  for (absl::Duration left = duration; left > absl::ZeroDuration(); left = end - absl::Now()) {
    if (cancelled()) return false;
    absl::SleepFor(std::min(left, kPoll));
  }
  return !cancelled();
}

absl::Status ChunkDecoder::Deliver(const v1::StreamGradientsResponse& message, GradientSink sink) {
  const auto broken = [&](absl::string_view field, absl::string_view what) {
    return MakeError(absl::StatusCode::kDataLoss, "CHUNK_INVALID", field,
                     absl::StrCat("a chunk of the stream is not what was asked for: ", field, " ", what));
  };
  const int64_t k = message.gradient_count();
  if (message.first_gradient() != received_) {
    return broken("first_gradient", absl::StrCat("is ", message.first_gradient(), ", must be ", received_));
  }
  if (k < 1 || k > query_.count - received_) {
    return broken("gradient_count", absl::StrCat("is ", k, ", must be from 1 to ", query_.count - received_));
  }
  const std::string& payload = message.gradients();
  const int64_t d = query_.weights.size();
  const int64_t row_bytes = d * static_cast<int64_t>(ElementSize(element_type_));
  if (row_bytes == 0 || static_cast<int64_t>(payload.size()) / row_bytes != k ||
      static_cast<int64_t>(payload.size()) % row_bytes != 0) {
    return broken("gradients", absl::StrCat("holds ", payload.size(), " bytes, must hold ", k, " gradients of ",
                                            row_bytes, " bytes"));
  }
  received_ += k;
  const bool in_place =
      element_type_ == ElementType::kFloat64 && reinterpret_cast<uintptr_t>(payload.data()) % alignof(double) == 0;
  if (in_place) return sink(Eigen::Map<const RowMajorMatrix>(reinterpret_cast<const double*>(payload.data()), k, d));
  block_.resize(k, d);
  GRADORACLE_RETURN_IF_ERROR(DecodeGradients(payload, element_type_, block_));
  return sink(block_);
}

absl::StatusOr<GradientQuery> Named(const GradientQuery& query) {
  GradientQuery named = query;
  if (named.request_id.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(named.request_id, RandomIdentifier());
  }
  return named;
}

// `status` with more to its message.
absl::Status WithAdvice(const absl::Status& status, absl::string_view advice) {
  absl::Status advised(status.code(), absl::StrCat(status.message(), "; ", advice));
  status.ForEachPayload([&](absl::string_view key, const absl::Cord& value) { advised.SetPayload(key, value); });
  return advised;
}

absl::Status Cancelled() { return absl::CancelledError("stopped by the caller"); }

// What an oracle said stands as it is. What gRPC says when there is no oracle to say anything is put into words that
// name the target and what to look at.
absl::Status RemoteOracle::Explain(const absl::Status& status, absl::Duration deadline) const {
  if (ErrorReason(status) == "BUDGET_EXHAUSTED") {
    return WithAdvice(
        status,
        "ask its owner to grant more, or ask for fewer gradients; repeating or resuming a request under its "
        "request id costs nothing");
  }
  if (ErrorReason(status).has_value()) return status;
  const std::string& target = target_;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable: {
      const std::string why = UsesTls(options_) && !cancelled() ? DiagnoseTls(target, options_, kDiagnosisTimeout) : "";
      if (!why.empty()) {
        return MakeError(status.code(), "TLS_FAILED", "oracle",
                         absl::StrCat("no TLS connection to oracle ", target, ": ", why));
      }
      return MakeError(status.code(), "ORACLE_UNREACHABLE", "oracle",
                       absl::StrCat("oracle ", target, " is unreachable (", status.message(),
                                    "): check that gradoracle-server runs there and that HOST:PORT is what it listens "
                                    "on",
                                    UsesTls(options_) ? "" : "; one that speaks TLS needs tls_ca"));
    }
    case absl::StatusCode::kDeadlineExceeded:
      return MakeError(status.code(), "ORACLE_TIMEOUT", "oracle",
                       absl::StrCat("oracle ", target, " did not answer within ", absl::FormatDuration(deadline),
                                    ": check the address, or allow more time (deadline)"));
    case absl::StatusCode::kUnimplemented:
      return MakeError(status.code(), "NOT_AN_ORACLE", "oracle",
                       absl::StrCat("what answers at ", target, " is no gradient oracle (", status.message(), ")"));
    default:
      return status;
  }
}

// 100 ms, doubling up to 5 s, less up to a fifth, so that many clients do not come back at once.
absl::Duration Backoff(int attempt) {
  const double milliseconds = std::min(5'000.0, 100.0 * std::exp2(attempt));
  return absl::Milliseconds(milliseconds * absl::Uniform(absl::BitGen(), 0.8, 1.0));
}

}  // namespace

absl::StatusOr<std::unique_ptr<OracleClient>> OracleClient::Create(const std::string& target,
                                                                   const OracleClientOptions& options) {
  if (target.empty()) {
    return InvalidField("TARGET_EMPTY", "oracle", "oracle is empty, must be HOST:PORT");
  }
  GRADORACLE_ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(options));
  GRADORACLE_ASSIGN_OR_RETURN(const std::string authorization, Authorization(target, options));
  // A proxy of the environment is another machine: what is meant for this one, a token in plaintext say, stays here.
  const bool direct = IsLoopbackTarget(target);
  const auto open_channel = [target, credentials, direct](grpc::ChannelArguments arguments) {
    if (direct) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    return grpc::CreateCustomChannel(target, credentials, arguments);
  };
  return NewOracleClient(target, open_channel, options, authorization);
}

std::unique_ptr<OracleClient> NewOracleClient(const std::string& target, ChannelFactory open_channel,
                                              const OracleClientOptions& options, const std::string& authorization) {
  return std::make_unique<RemoteOracle>(target, std::move(open_channel), options, authorization);
}

}  // namespace gradoracle
