#ifndef GRADORACLE_SERVER_SERVICE_HEALTH_SERVICE_H_
#define GRADORACLE_SERVER_SERVICE_HEALTH_SERVICE_H_

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "absl/functional/function_ref.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace gradoracle {

// grpc.health.v1.Health as an ordinary service, so that reflection describes it (gRPC's built-in one is invisible).
// Knows two services: "" (the process lives) and gradoracle.v1.OracleService (it takes calls). Both start NOT_SERVING.
// Check of any other service is NOT_FOUND, Watch of it reports SERVICE_UNKNOWN and stays open. Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;
  static constexpr char kProcess[] = "";

  HealthService();
  ~HealthService() override;

  // Sets the status of a known service, and tells its watchers. Ignored after Shutdown.
  void SetServing(const std::string& service, bool serving);
  // While the ledger does not work OracleService is NOT_SERVING, whatever SetServing said; the process lives.
  void SetLedgerWorks(bool works);
  // Everything NOT_SERVING, for good; watchers are told so and their streams end (they would hold up Server::Shutdown).
  void Shutdown();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;

  Status StatusLocked(const std::string& service) const;
  // Makes the change under the lock and tells it to whoever watches.
  void Change(absl::FunctionRef<void()> change);

  std::mutex mutex_;
  bool shut_down_ = false;                  // guarded by mutex_
  bool ledger_works_ = true;                // guarded by mutex_
  std::map<std::string, Status> statuses_;  // guarded by mutex_
  std::set<Watcher*> watchers_;             // guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVICE_HEALTH_SERVICE_H_
