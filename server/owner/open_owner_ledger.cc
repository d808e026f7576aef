#include "server/owner/open_owner_ledger.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "server/config/ledger_location.h"
#include "server/owner/admin_client.h"
#include "server/owner/admin_socket.h"
#include "server/owner/direct_owner_ledger.h"

namespace gradoracle {
namespace {

// A ledger and its owner's view of it; nobody serves from this process, so that a change concerns nobody here.
class OwnedLedger final : public OwnerLedger {
 public:
  explicit OwnedLedger(std::unique_ptr<Ledger> ledger)
      : ledger_(std::move(ledger)), direct_(ledger_.get(), [] { return absl::OkStatus(); }) {}

  absl::Status AddToken(const StoredToken& token, const std::optional<Limit>& limit) override {
    return direct_.AddToken(token, limit);
  }
  absl::StatusOr<Holdings> List() override { return direct_.List(); }
  absl::Status RevokeToken(const std::string& id) override { return direct_.RevokeToken(id); }
  absl::Status RevokePrincipal(const std::string& principal) override { return direct_.RevokePrincipal(principal); }
  absl::Status SetLimit(const std::string& principal, const Limit& limit) override {
    return direct_.SetLimit(principal, limit);
  }
  absl::Status SetDatasetLimit(const Limit& limit) override { return direct_.SetDatasetLimit(limit); }

 private:
  const std::unique_ptr<Ledger> ledger_;
  DirectOwnerLedger direct_;
};

absl::Status NotKept() {
  return InvalidField("LEDGER_NOT_KEPT", "ledger",
                      "--ledger memory lives and dies with the process that serves, and knows no tokens; name a ledger "
                      "that is kept, such as --ledger sqlite:ledger.db");
}

}  // namespace

absl::StatusOr<std::unique_ptr<OwnerLedger>> OpenOwnerLedger(const LedgerOptions& options, bool create) {
  GRADORACLE_ASSIGN_OR_RETURN(const LedgerLocation parsed, ParseLedgerLocation(options.location));
  if (parsed.kind == LedgerKind::kMemory) return NotKept();
  if (parsed.kind == LedgerKind::kSqlite) {
    GRADORACLE_ASSIGN_OR_RETURN(const std::string socket_path, AdminSocketPath(parsed.address));
    GRADORACLE_ASSIGN_OR_RETURN(const bool served, IsListening(socket_path));
    if (served) return ConnectOwnerLedger(socket_path);
    if (!create && access(parsed.address.c_str(), F_OK) != 0) {
      return MakeError(absl::StatusCode::kNotFound, "LEDGER_NOT_FOUND", "ledger",
                       absl::StrCat("--ledger sqlite:", parsed.address, ": there is no such file"));
    }
  }
  GRADORACLE_ASSIGN_OR_RETURN(std::unique_ptr<Ledger> ledger, OpenLedger(options));
  return std::make_unique<OwnedLedger>(std::move(ledger));
}

}  // namespace gradoracle
