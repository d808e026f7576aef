#include "server/service/oracle_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"
#include "proto/conversion.h"
#include "proto/reaction_order.h"
#include "proto/status_conversion.h"
#include "server/identity/caller.h"
#include "server/service/call_record.h"
#include "server/service/gradient_stream_reactor.h"
#include "server/service/gradient_writer.h"

namespace gradoracle {
namespace {

constexpr absl::string_view kUnary = "unary";
constexpr absl::string_view kServerStream = "server_stream";

// What a query needs to be answered.
struct Answer {
  std::unique_ptr<AdmittedQuery> admitted;
  GradientStream stream;
};

// Answers GetGradient from the pool, once the ledger has charged it. Deletes itself.
class GradientReactor final : public grpc::ServerUnaryReactor {
 public:
  GradientReactor(std::unique_ptr<CallRecord> record, Answer answer, ElementType element_type,
                  const OracleServiceOptions& options, ComputePool* pool, std::string* payload)
      : record_(std::move(record)),
        writer_(std::move(answer.admitted), std::move(answer.stream), element_type, &cancelled_, options.on_computed) {
    BeforeReactions(this);
    writer_.Charge(0, 1, [this, pool, payload](const absl::Status& charged) {
      if (!charged.ok()) return End(charged);
      pool->Schedule([this, payload] {
        const absl::Status written = writer_.Write(0, 1, *payload);
        if (written.ok()) record_->AddSent(1, static_cast<int64_t>(payload->size()));
        End(written);
      });
    });
  }
  void OnCancel() override {
    InReaction(this);
    cancelled_ = true;
  }
  void OnDone() override {
    InReaction(this);
    delete this;
  }

 private:
  void End(const absl::Status& status) {
    record_->Finish(status);
    BeforeReactions(this);
    Finish(ToGrpcStatus(status));
  }

  const std::unique_ptr<CallRecord> record_;
  std::atomic<bool> cancelled_{false};
  GradientWriter writer_;
};

// A stream that was refused. Deletes itself.
class RefusedStream final : public grpc::ServerWriteReactor<v1::StreamGradientsResponse> {
 public:
  explicit RefusedStream(const absl::Status& status) {
    BeforeReactions(this);
    Finish(ToGrpcStatus(status));
  }
  void OnDone() override {
    InReaction(this);
    delete this;
  }
};

// The caller's name. Errors: Admission::Identify's; kCancelled: nothing is to be done for a caller who is gone;
// kResourceExhausted TOO_MANY_CALLS.
absl::StatusOr<std::string> Identify(const grpc::CallbackServerContext& context, const Admission& admission,
                                     const ConnectionTable* connections, CallRecord& record);
absl::StatusOr<Answer> Start(const std::string& principal, const GradientQuery& query, int64_t first_gradient,
                             const GradientEngine& engine, Admission& admission);
grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, CallRecord& record,
                                    const absl::Status& status);
grpc::ServerWriteReactor<v1::StreamGradientsResponse>* RefuseStream(CallRecord& record, const absl::Status& status);
OracleServiceOptions Counting(OracleServiceOptions options);

}  // namespace

OracleService::OracleService(const GradientEngine* engine, Admission* admission, ComputePool* pool,
                             const OracleServiceOptions& options)
    : engine_(engine), admission_(admission), pool_(pool), options_(Counting(options)) {}

grpc::ServerUnaryReactor* OracleService::GetInfo(grpc::CallbackServerContext* context, const v1::GetInfoRequest*,
                                                 v1::GetInfoResponse* response) {
  CallRecord record({kName, "GetInfo", kUnary}, *context, options_.metrics);
  const absl::StatusOr<std::string> principal = Identify(*context, *admission_, options_.connections, record);
  if (principal.ok()) *response = ToProto(*admission_->info());
  return FinishNow(context, record, principal.status());
}

// In the pool: the ledger lets its readers wait.
grpc::ServerUnaryReactor* OracleService::GetBudget(grpc::CallbackServerContext* context, const v1::GetBudgetRequest*,
                                                   v1::GetBudgetResponse* response) {
  auto record = std::make_shared<CallRecord>(MethodName{kName, "GetBudget", kUnary}, *context, options_.metrics);
  const absl::StatusOr<std::string> principal = Identify(*context, *admission_, options_.connections, *record);
  if (!principal.ok()) return FinishNow(context, *record, principal.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();  // once: each call makes it anew
  pool_->Schedule([this, record, reactor, response, name = *principal] {
    const absl::StatusOr<Budget> budget = admission_->FindBudget(name);
    if (budget.ok()) *response = ToProto(*budget);
    record->Finish(budget.status());
    reactor->Finish(ToGrpcStatus(budget.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* OracleService::GetGradient(grpc::CallbackServerContext* context,
                                                     const v1::GetGradientRequest* request,
                                                     v1::GetGradientResponse* response) {
  auto record = std::make_unique<CallRecord>(MethodName{kName, "GetGradient", kUnary}, *context, options_.metrics);
  const absl::StatusOr<std::string> principal = Identify(*context, *admission_, options_.connections, *record);
  if (!principal.ok()) return FinishNow(context, *record, principal.status());
  const absl::StatusOr<ElementType> element_type = ElementTypeFromProto(request->element_type());
  if (!element_type.ok()) return FinishNow(context, *record, element_type.status());
  const absl::StatusOr<GradientQuery> query = QueryFromProto(*request);
  if (!query.ok()) return FinishNow(context, *record, query.status());
  absl::StatusOr<Answer> answer = Start(*principal, *query, /*first_gradient=*/0, *engine_, *admission_);
  if (!answer.ok()) return FinishNow(context, *record, answer.status());
  record->set_request_id(query->request_id);
  return new GradientReactor(std::move(record), *std::move(answer), *element_type, options_, pool_,
                             response->mutable_gradient());
}

grpc::ServerWriteReactor<v1::StreamGradientsResponse>* OracleService::StreamGradients(
    grpc::CallbackServerContext* context, const v1::StreamGradientsRequest* request) {
  auto record =
      std::make_unique<CallRecord>(MethodName{kName, "StreamGradients", kServerStream}, *context, options_.metrics);
  const absl::StatusOr<std::string> principal = Identify(*context, *admission_, options_.connections, *record);
  if (!principal.ok()) return RefuseStream(*record, principal.status());
  const absl::StatusOr<StreamOptions> options = StreamOptionsFromProto(*request);
  if (!options.ok()) return RefuseStream(*record, options.status());
  const absl::StatusOr<GradientQuery> query = QueryFromProto(*request);
  if (!query.ok()) return RefuseStream(*record, query.status());
  absl::StatusOr<Answer> answer = Start(*principal, *query, options->first_gradient, *engine_, *admission_);
  if (!answer.ok()) return RefuseStream(*record, answer.status());
  record->set_request_id(query->request_id);
  const auto make_writer = [&](const std::atomic<bool>* cancelled) {
    return std::make_unique<GradientWriter>(std::move(answer->admitted), std::move(answer->stream),
                                            options->element_type, cancelled, options_.on_computed);
  };
  return new GradientStreamReactor(std::move(record), make_writer, pool_, options->first_gradient,
                                   ChunkGradients(*query, *options));
}

namespace {

// The caller, unless its connection asks too much at once or the call is cancelled already: nothing is spent on those.
absl::StatusOr<std::string> Identify(const grpc::CallbackServerContext& context, const Admission& admission,
                                     const ConnectionTable* connections, CallRecord& record) {
  if (connections != nullptr && !connections->MayWork(context.peer())) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_CALLS", "",
                     "too many calls at once, or cancelled too fast, on one connection");
  }
  if (context.IsCancelled()) return absl::CancelledError("the caller cancelled");
  absl::StatusOr<std::string> principal = admission.Identify(CallerOf(context));
  if (principal.ok()) record.set_principal(*principal);
  return principal;
}

absl::StatusOr<Answer> Start(const std::string& principal, const GradientQuery& query, int64_t first_gradient,
                             const GradientEngine& engine, Admission& admission) {
  GRADORACLE_ASSIGN_OR_RETURN(auto admitted, admission.Admit(principal, query, first_gradient));
  GRADORACLE_ASSIGN_OR_RETURN(GradientStream stream, engine.Start(admitted->query(), admitted->key()));
  return Answer{std::move(admitted), std::move(stream)};
}

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, CallRecord& record,
                                    const absl::Status& status) {
  record.Finish(status);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerWriteReactor<v1::StreamGradientsResponse>* RefuseStream(CallRecord& record, const absl::Status& status) {
  record.Finish(status);
  return new RefusedStream(status);
}

// The same, with what is computed counted.
OracleServiceOptions Counting(OracleServiceOptions options) {
  if (options.metrics == nullptr) return options;
  options.on_computed = [metrics = options.metrics, next = options.on_computed](int64_t first, int64_t count) {
    metrics->GradientsComputed(count);
    if (next) next(first, count);
  };
  return options;
}

}  // namespace
}  // namespace gradoracle
