#ifndef GRADORACLE_SERVER_OPERATIONS_ADMIN_HTTP_SERVER_H_
#define GRADORACLE_SERVER_OPERATIONS_ADMIN_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/operations/listen_address.h"

namespace prometheus {
class Collectable;
}

namespace gradoracle {

// What stands between the server and readiness; empty: it is ready.
using Readiness = std::function<std::vector<std::string>()>;

// HTTP for the owner's machinery, on a port of its own: GET /metrics (Prometheus text), /livez (200 while the process
// answers), /readyz (200 or 503, one reason a line). Nothing else. Plaintext and without identity: keep it on loopback
// or inside the cluster. Runs from Start until destroyed; thread-safe.
class AdminHttpServer {
 public:
  using Collectables = std::vector<std::shared_ptr<prometheus::Collectable>>;

  // Errors: kUnavailable LISTEN_FAILED, field admin_listen.
  static absl::StatusOr<std::unique_ptr<AdminHttpServer>> Start(const ListenAddress& address, Collectables collectables,
                                                                Readiness readiness);
  virtual ~AdminHttpServer() = default;

  // Where it listens; the port the system chose for port 0.
  virtual ListenAddress address() const = 0;

 protected:
  AdminHttpServer() = default;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_ADMIN_HTTP_SERVER_H_
