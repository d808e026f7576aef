#ifndef GRADORACLE_CLIENT_CLI_CONNECTION_FLAGS_H_
#define GRADORACLE_CLIENT_CLI_CONNECTION_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/environment.h"
#include "client/cli/flag_set.h"

namespace gradoracle {

// How to reach the oracle, and --json: what every verb that asks an oracle has.
class ConnectionFlags {
 public:
  void AddTo(FlagSet& flags);
  // The same, with an --oracle that may be given several times.
  void AddSeveralTo(FlagSet& flags);
  // GRADORACLE_ORACLE stands in for a missing --oracle, GRADORACLE_TOKEN_FILE, GRADORACLE_TLS_CA, GRADORACLE_TLS_CERT
  // and GRADORACLE_TLS_KEY for the flags of those names. Errors: MISSING, ORACLE_ADDRESS, DEADLINE_INVALID.
  absl::Status Check();
  // The same for a verb that may also do without an oracle.
  absl::Status CheckIfGiven();

  bool typed() const { return !typed_oracle_.empty(); }           // --oracle was given; before any check
  const std::string& oracle() const { return oracles_.front(); }  // HOST:PORT; after Check
  const std::vector<std::string>& oracles() const { return oracles_; }
  const ConnectionSettings& settings() const { return settings_; }
  bool json() const { return json_; }

 private:
  void AddOthersTo(FlagSet& flags);

  std::string typed_oracle_;
  std::vector<std::string> oracles_;
  std::string typed_deadline_;
  ConnectionSettings settings_;
  bool json_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_CONNECTION_FLAGS_H_
