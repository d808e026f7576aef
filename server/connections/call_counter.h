#ifndef GRADORACLE_SERVER_CONNECTIONS_CALL_COUNTER_H_
#define GRADORACLE_SERVER_CONNECTIONS_CALL_COUNTER_H_

#include "grpcpp/support/server_interceptor.h"
#include "server/connections/call_deadlines.h"
#include "server/connections/connection_table.h"
#include "server/operations/metrics.h"

namespace gradoracle {

// Sees every call of a grpc::Server, of whatever service, and tells its connection when it starts and how it ends: a
// connection whose calls are cancelled faster than CallLimits allows is aborted (CVE-2023-44487). Install it with
// ServerBuilder::experimental().SetInterceptorCreators. Calls whose caller does not read are cancelled, and
// unary calls that last too long.
class CallCounterFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // All must outlive the server; all but `table` may be null.
  CallCounterFactory(ConnectionTable* table, CallDeadlines* write_deadlines, CallDeadlines* unary_deadlines,
                     Metrics* metrics)
      : table_(table), write_deadlines_(write_deadlines), unary_deadlines_(unary_deadlines), metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override;

 private:
  ConnectionTable* const table_;
  CallDeadlines* const write_deadlines_;
  CallDeadlines* const unary_deadlines_;
  Metrics* const metrics_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_CALL_COUNTER_H_
