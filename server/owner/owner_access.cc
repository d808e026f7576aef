#include "server/owner/owner_access.h"

#include <chrono>
#include <string>

#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/config/ledger_location.h"
#include "server/operations/log.h"
#include "server/owner/admin_socket.h"

namespace gradoracle {
namespace {

constexpr std::chrono::seconds kReloadInterval{1};

AuthKind KindOf(const std::string& auth) {
  if (auth == "tokens") return AuthKind::kTokens;
  return auth == "mtls" ? AuthKind::kCertificates : AuthKind::kNone;
}

}  // namespace

OwnerAccess::OwnerAccess(AuthKind kind, Ledger* ledger)
    : tokens_(ledger), authenticator_(kind, &tokens_), owner_ledger_(ledger, [this] { return Reload(); }) {}

absl::StatusOr<std::unique_ptr<OwnerAccess>> OwnerAccess::Open(const ServerConfig& config, Ledger* ledger) {
  GRADORACLE_ASSIGN_OR_RETURN(const LedgerLocation location, ParseLedgerLocation(config.ledger));
  auto access = std::unique_ptr<OwnerAccess>(new OwnerAccess(KindOf(config.auth), ledger));
  GRADORACLE_RETURN_IF_ERROR(access->Reload());
  if (location.kind == LedgerKind::kSqlite) {
    GRADORACLE_ASSIGN_OR_RETURN(const std::string socket_path, AdminSocketPath(location.address));
    GRADORACLE_ASSIGN_OR_RETURN(access->admin_server_, AdminServer::Start(socket_path, &access->owner_ledger_));
  }
  if (location.kind == LedgerKind::kPostgresql && config.auth != "none") {
    access->reloader_ = std::thread([raw = access.get()] { raw->KeepReloading(); });
  }
  return access;
}

OwnerAccess::~OwnerAccess() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  if (reloader_.joinable()) reloader_.join();
}

// A ledger that cannot be read cannot be charged either: the table may stay as it is meanwhile.
void OwnerAccess::KeepReloading() {
  bool failing = false;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_.wait_for(lock, kReloadInterval, [this] { return stop_; })) {
    lock.unlock();
    const absl::Status status = Reload();
    if (!status.ok() && !failing) {
      Log(LogLevel::kWarning, "tokens cannot be read from the ledger; those known stay in force",
          {{"why", std::string(status.message())}});
    }
    failing = !status.ok();
    lock.lock();
  }
}

}  // namespace gradoracle
