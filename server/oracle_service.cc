#include "server/oracle_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "core/status_macros.h"
#include "proto/conversion.h"
#include "proto/reaction_order.h"
#include "proto/status_conversion.h"
#include "server/gradient_stream_reactor.h"
#include "server/gradient_writer.h"

namespace gradoracle {
namespace {

// What a query needs to be answered.
struct Answer {
  std::unique_ptr<AdmittedQuery> admitted;
  GradientStream stream;
};

// Answers GetGradient from the pool. Deletes itself.
class GradientReactor final : public grpc::ServerUnaryReactor {
 public:
  GradientReactor(Answer answer, ElementType element_type, const OracleServiceOptions& options, ComputePool* pool,
                  std::string* payload)
      : writer_(std::move(answer.admitted), std::move(answer.stream), element_type, &cancelled_, options.on_computed) {
    BeforeReactions(this);
    pool->Schedule([this, payload] {
      const absl::Status status = writer_.Write(0, 1, *payload);
      BeforeReactions(this);
      Finish(ToGrpcStatus(status));
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

absl::StatusOr<std::string> Identify(const grpc::CallbackServerContext& context, const Admission& admission);
absl::StatusOr<Answer> Start(const std::string& principal, const GradientQuery& query, int64_t first_gradient,
                             const GradientEngine& engine, Admission& admission);
grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const absl::Status& status);

}  // namespace

OracleService::OracleService(const OracleInfo& info, const GradientEngine* engine, Admission* admission,
                             ComputePool* pool, const OracleServiceOptions& options)
    : info_(ToProto(info)), engine_(engine), admission_(admission), pool_(pool), options_(options) {}

grpc::ServerUnaryReactor* OracleService::GetInfo(grpc::CallbackServerContext* context, const v1::GetInfoRequest*,
                                                 v1::GetInfoResponse* response) {
  const absl::Status status = Identify(*context, *admission_).status();
  if (status.ok()) *response = info_;
  return FinishNow(context, status);
}

grpc::ServerUnaryReactor* OracleService::GetGradient(grpc::CallbackServerContext* context,
                                                     const v1::GetGradientRequest* request,
                                                     v1::GetGradientResponse* response) {
  const absl::StatusOr<std::string> principal = Identify(*context, *admission_);
  if (!principal.ok()) return FinishNow(context, principal.status());
  const absl::StatusOr<ElementType> element_type = ElementTypeFromProto(request->element_type());
  if (!element_type.ok()) return FinishNow(context, element_type.status());
  const absl::StatusOr<GradientQuery> query = QueryFromProto(*request);
  if (!query.ok()) return FinishNow(context, query.status());
  absl::StatusOr<Answer> answer = Start(*principal, *query, /*first_gradient=*/0, *engine_, *admission_);
  if (!answer.ok()) return FinishNow(context, answer.status());
  return new GradientReactor(*std::move(answer), *element_type, options_, pool_, response->mutable_gradient());
}

grpc::ServerWriteReactor<v1::StreamGradientsResponse>* OracleService::StreamGradients(
    grpc::CallbackServerContext* context, const v1::StreamGradientsRequest* request) {
  const absl::StatusOr<std::string> principal = Identify(*context, *admission_);
  if (!principal.ok()) return new RefusedStream(principal.status());
  const absl::StatusOr<StreamOptions> options = StreamOptionsFromProto(*request);
  if (!options.ok()) return new RefusedStream(options.status());
  const absl::StatusOr<GradientQuery> query = QueryFromProto(*request);
  if (!query.ok()) return new RefusedStream(query.status());
  absl::StatusOr<Answer> answer = Start(*principal, *query, options->first_gradient, *engine_, *admission_);
  if (!answer.ok()) return new RefusedStream(answer.status());
  const auto make_writer = [&](const std::atomic<bool>* cancelled) {
    return std::make_unique<GradientWriter>(std::move(answer->admitted), std::move(answer->stream),
                                            options->element_type, cancelled, options_.on_computed);
  };
  return new GradientStreamReactor(make_writer, pool_, options->first_gradient, ChunkGradients(*query, *options));
}

namespace {

absl::StatusOr<std::string> Identify(const grpc::CallbackServerContext& context, const Admission& admission) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return admission.Identify("");
  return admission.Identify(absl::string_view(found->second.data(), found->second.size()));
}

absl::StatusOr<Answer> Start(const std::string& principal, const GradientQuery& query, int64_t first_gradient,
                             const GradientEngine& engine, Admission& admission) {
  GRADORACLE_ASSIGN_OR_RETURN(auto admitted, admission.Admit(principal, query, first_gradient));
  GRADORACLE_ASSIGN_OR_RETURN(GradientStream stream, engine.Start(query, admitted->key()));
  return Answer{std::move(admitted), std::move(stream)};
}

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace
}  // namespace gradoracle
