#include "server/connections/call_counter.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "grpcpp/server_context.h"
#include "nlohmann/json.hpp"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

using ::grpc::experimental::InterceptionHookPoints;

// Lives as long as the call: gRPC destroys it with the ServerContext.
class CallCounter final : public grpc::experimental::Interceptor {
 public:
  CallCounter(grpc::experimental::ServerRpcInfo* info, ConnectionTable* table, CallDeadlines* write_deadlines,
              CallDeadlines* unary_deadlines, Metrics* metrics)
      : info_(info), table_(table), writes_{write_deadlines}, whole_{unary_deadlines}, metrics_(metrics) {}

  ~CallCounter() override {
    Unwatch();
    if (connection_ != nullptr && connection_->CallEnded(cancelled_, std::chrono::steady_clock::now())) Aborted();
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      connection_ = table_->Find(info_->server_context()->peer()).connection;
      if (connection_ != nullptr && connection_->CallStarted()) Aborted();
      if (info_->type() == grpc::experimental::ServerRpcInfo::Type::UNARY) Start(whole_);
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) answered_ = true;
    WatchWrites(methods);
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_CLOSE)) {
      // IsCancelled of a synchronous service's context (reflection) would wait for the very event that is being told
      // here, and crashes; of its calls only those are counted that had not been answered yet.
      const auto* context = dynamic_cast<const grpc::CallbackServerContext*>(info_->server_context());
      cancelled_ = context != nullptr ? context->IsCancelled() : !answered_;
    }
    methods->Proceed();
  }

 private:
  // This call in one of the lists of deadlines.
  struct Watch {
    CallDeadlines* deadlines;  // may be null
    uint64_t call = 0;         // 0: not in it
  };

  void Start(Watch& watch) {
    if (watch.deadlines == nullptr) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    if (watch.call == 0) {
      watch.call = watch.deadlines->Add([context = info_->server_context()] { context->TryCancel(); });
    }
    watch.deadlines->Start(watch.call);
  }

  // A unary answer goes out with its status; its end is that of the call. POST_RECV_CLOSE comes once, in every call,
  // while its context still exists: nothing is cancelled after it.
  void WatchWrites(grpc::experimental::InterceptorBatchMethods* methods) {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_CLOSE)) {
      Unwatch();
      return;
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE) ||
        methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      Start(writes_);
    } else if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_SEND_MESSAGE)) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!answered_ && writes_.call != 0) writes_.deadlines->Stop(writes_.call);
    }
  }

  // Not under the lock: a thread that is cancelling this call is waited for, and may be telling us of its writes.
  void Unwatch() {
    uint64_t writes;
    uint64_t whole;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
      writes = std::exchange(writes_.call, 0);
      whole = std::exchange(whole_.call, 0);
    }
    if (writes != 0) writes_.deadlines->Remove(writes);
    if (whole != 0) whole_.deadlines->Remove(whole);
  }

  // Once a connection at most, and connections are limited: no flood of lines.
  void Aborted() {
    if (metrics_ != nullptr) metrics_->ConnectionRefused("cancelled_calls");
    Log(LogLevel::kWarning, "connection aborted: its calls were cancelled too fast",
        {{"from", connection_->peer().IpText()}});
  }

  grpc::experimental::ServerRpcInfo* const info_;
  ConnectionTable* const table_;
  Watch writes_;  // calls: guarded by mutex_
  Watch whole_;
  Metrics* const metrics_;
  std::shared_ptr<Connection> connection_;
  std::atomic<bool> answered_{false};
  bool cancelled_ = false;
  std::mutex mutex_;     // the end of a call can be told while something is sent
  bool closed_ = false;  // guarded by mutex_
};

}  // namespace

grpc::experimental::Interceptor* CallCounterFactory::CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) {
  return new CallCounter(info, table_, write_deadlines_, unary_deadlines_, metrics_);
}

}  // namespace gradoracle
