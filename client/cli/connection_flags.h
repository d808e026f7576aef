#ifndef GRADORACLE_CLIENT_CLI_CONNECTION_FLAGS_H_
#define GRADORACLE_CLIENT_CLI_CONNECTION_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/flag_set.h"

namespace gradoracle {

// How to reach the oracle, and --json: what every verb that asks an oracle has.
class ConnectionFlags {
 public:
  void AddTo(FlagSet& flags);
  // The same, with an --oracle that may be given several times.
  void AddSeveralTo(FlagSet& flags);
  // GRADORACLE_ORACLE stands in for a missing --oracle. Errors: MISSING, ORACLE_ADDRESS, DEADLINE_INVALID.
  absl::Status Check();
  // The same for a verb that may also do without an oracle.
  absl::Status CheckIfGiven();

  const std::string& oracle() const { return oracles_.front(); }  // HOST:PORT; after Check
  const std::vector<std::string>& oracles() const { return oracles_; }
  absl::Duration deadline() const { return deadline_; }
  bool json() const { return json_; }

 private:
  void AddOthersTo(FlagSet& flags);

  std::string typed_oracle_;
  std::vector<std::string> oracles_;
  std::string typed_deadline_;
  absl::Duration deadline_ = absl::Seconds(30);
  bool json_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_CONNECTION_FLAGS_H_
