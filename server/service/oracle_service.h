#ifndef GRADORACLE_SERVER_SERVICE_ORACLE_SERVICE_H_
#define GRADORACLE_SERVER_SERVICE_ORACLE_SERVICE_H_

#include <cstdint>
#include <functional>

#include "core/compute_pool.h"
#include "core/gradient_engine.h"
#include "gradoracle/v1/oracle.grpc.pb.h"
#include "server/admission/admission.h"
#include "server/connections/connection_table.h"
#include "server/operations/metrics.h"

namespace gradoracle {

struct OracleServiceOptions {
  // Called after each piece of work, from a pool thread, with the gradients just computed: tests count here.
  std::function<void(int64_t first_gradient, int64_t gradient_count)> on_computed;
  // Says whether a call may do any work (CallLimits); null: each may. Must outlive the service.
  const ConnectionTable* connections = nullptr;
  Metrics* metrics = nullptr;  // may be null; otherwise must outlive the service
};

// gradoracle.v1.OracleService: convert in, admission, engine, convert out. Arithmetic happens in the pool, never in
// gRPC's callback threads. Thread-safe; everything handed in must outlive it, and it the grpc::Server.
class OracleService final : public v1::OracleService::CallbackService {
 public:
  static constexpr char kName[] = "gradoracle.v1.OracleService";

  OracleService(const GradientEngine* engine, Admission* admission, ComputePool* pool,
                const OracleServiceOptions& options);

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* context, const v1::GetInfoRequest* request,
                                    v1::GetInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetBudget(grpc::CallbackServerContext* context, const v1::GetBudgetRequest* request,
                                      v1::GetBudgetResponse* response) override;
  grpc::ServerUnaryReactor* GetGradient(grpc::CallbackServerContext* context, const v1::GetGradientRequest* request,
                                        v1::GetGradientResponse* response) override;
  grpc::ServerWriteReactor<v1::StreamGradientsResponse>* StreamGradients(
      grpc::CallbackServerContext* context, const v1::StreamGradientsRequest* request) override;

 private:
  const GradientEngine* const engine_;
  Admission* const admission_;
  ComputePool* const pool_;
  const OracleServiceOptions options_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_SERVICE_ORACLE_SERVICE_H_
