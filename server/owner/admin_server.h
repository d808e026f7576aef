#ifndef GRADORACLE_SERVER_OWNER_ADMIN_SERVER_H_
#define GRADORACLE_SERVER_OWNER_ADMIN_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/owner/owner_ledger.h"

namespace gradoracle {

// AdminService on a socket that only this user can open (admin_socket.h): whoever can has the ledger's file anyway.
class AdminServer {
 public:
  // Listens; a socket left behind by an earlier process is replaced, so call this only once the ledger's file is this
  // process's own. `ledger` must outlive the result. Errors: MakeAdminFolder's; kUnavailable ADMIN_SOCKET.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& socket_path, OwnerLedger* ledger);
  ~AdminServer();  // ends calls within a second
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

 private:
  class Service;
  AdminServer();

  std::string socket_path_;
  std::unique_ptr<Service> service_;
  struct Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_ADMIN_SERVER_H_
