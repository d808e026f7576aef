#include "server/service/health_service.h"

#include <optional>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "proto/reaction_order.h"
#include "server/service/oracle_service.h"

namespace gradoracle {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

// One open Watch. All its state is guarded by the service's mutex; what is to be told to gRPC is decided under the lock
// and told after it, since gRPC may call back from within. It lives until Finish, which is decided only while no write
// is outstanding. Deletes itself.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  enum class Action { kNothing, kWrite, kFinish };

  Watcher(HealthService* service, const std::string& name) : service_(service), name_(name) {
    Action action;
    {
      const std::lock_guard<std::mutex> lock(service_->mutex_);
      service_->watchers_.insert(this);
      action = DecideLocked();
    }
    Do(action);
  }

  // Brings what the caller was told up to date with the service.
  Action DecideLocked() {
    if (writing_ || finished_) return Action::kNothing;
    const Status status = service_->StatusLocked(name_);
    if (!cancelled_ && told_ != status) {
      told_ = status;
      message_.set_status(status);
      writing_ = true;
      return Action::kWrite;
    }
    if (!cancelled_ && !service_->shut_down_) return Action::kNothing;
    finished_ = true;
    return Action::kFinish;
  }

  void Do(Action action) {
    BeforeReactions(this);
    if (action == Action::kWrite) StartWrite(&message_);
    if (action == Action::kFinish) Finish(grpc::Status(grpc::UNAVAILABLE, "the server is shutting down"));
  }

  void OnWriteDone(bool ok) override {
    InReaction(this);
    Action action;
    {
      const std::lock_guard<std::mutex> lock(service_->mutex_);
      writing_ = false;
      cancelled_ = cancelled_ || !ok;
      action = DecideLocked();
    }
    Do(action);
  }

  void OnCancel() override {
    InReaction(this);
    Action action;
    {
      const std::lock_guard<std::mutex> lock(service_->mutex_);
      cancelled_ = true;
      action = DecideLocked();
    }
    Do(action);
  }

  void OnDone() override {
    InReaction(this);
    {
      const std::lock_guard<std::mutex> lock(service_->mutex_);
      service_->watchers_.erase(this);
    }
    delete this;
  }

 private:
  HealthService* const service_;
  const std::string name_;
  HealthCheckResponse message_;
  std::optional<Status> told_;
  bool writing_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
};

HealthService::HealthService()
    : statuses_{{kProcess, HealthCheckResponse::NOT_SERVING},
                {OracleService::kName, HealthCheckResponse::NOT_SERVING}} {}

HealthService::~HealthService() = default;

void HealthService::SetServing(const std::string& service, bool serving) {
  Change([&] {
    const auto found = statuses_.find(service);
    if (shut_down_ || found == statuses_.end()) return;
    found->second = serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  });
}

void HealthService::SetLedgerWorks(bool works) {
  Change([&] { ledger_works_ = works; });
}

void HealthService::Shutdown() {
  Change([&] {
    shut_down_ = true;
    for (auto& [service, status] : statuses_) status = HealthCheckResponse::NOT_SERVING;
  });
}

void HealthService::Change(absl::FunctionRef<void()> change) {
  std::vector<std::pair<Watcher*, Watcher::Action>> actions;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    change();
    for (Watcher* watcher : watchers_) actions.emplace_back(watcher, watcher->DecideLocked());
  }
  // A watcher with nothing to do may be gone by now; one with an action waits for it.
  for (const auto& [watcher, action] : actions) {
    if (action != Watcher::Action::kNothing) watcher->Do(action);
  }
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Status status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    status = StatusLocked(request->service());
  }
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(grpc::Status(grpc::NOT_FOUND, "no such service here"));
    return reactor;
  }
  response->set_status(status);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext* /*context*/,
                                                                    const HealthCheckRequest* request) {
  return new Watcher(this, request->service());
}

HealthService::Status HealthService::StatusLocked(const std::string& service) const {
  const auto found = statuses_.find(service);
  if (found == statuses_.end()) return HealthCheckResponse::SERVICE_UNKNOWN;
  if (!ledger_works_ && service == OracleService::kName) return HealthCheckResponse::NOT_SERVING;
  return found->second;
}

}  // namespace gradoracle
