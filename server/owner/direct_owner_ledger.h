#ifndef GRADORACLE_SERVER_OWNER_DIRECT_OWNER_LEDGER_H_
#define GRADORACLE_SERVER_OWNER_DIRECT_OWNER_LEDGER_H_

#include <functional>
#include <string>

#include "server/owner/owner_ledger.h"

namespace gradoracle {

// The owner's ledger where it is this process's own.
class DirectOwnerLedger final : public OwnerLedger {
 public:
  // `changed` is called after every change, before the call returns: to put it in force. Its error is the call's.
  DirectOwnerLedger(Ledger* ledger, std::function<absl::Status()> changed);

  absl::Status AddToken(const StoredToken& token, const std::optional<Limit>& limit) override;
  absl::StatusOr<Holdings> List() override;
  absl::Status RevokeToken(const std::string& id) override;
  absl::Status RevokePrincipal(const std::string& principal) override;
  absl::Status SetLimit(const std::string& principal, const Limit& limit) override;
  absl::Status SetDatasetLimit(const Limit& limit) override;

 private:
  Ledger* const ledger_;
  const std::function<absl::Status()> changed_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_DIRECT_OWNER_LEDGER_H_
