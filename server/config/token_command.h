#ifndef GRADORACLE_SERVER_CONFIG_TOKEN_COMMAND_H_
#define GRADORACLE_SERVER_CONFIG_TOKEN_COMMAND_H_

#include <string>

namespace gradoracle {

// What follows the verb `token`, as it was typed; empty: not given.
struct TokenCommand {
  enum class Verb { kCreate, kList, kRevoke, kGrant, kCap };
  Verb verb = Verb::kList;
  std::string principal = {};
  std::string limit = {};     // gradients, or "unlimited"
  std::string expires = {};   // from now: "30d", "12h"
  std::string out = {};       // file for the token
  std::string token_id = {};  // its public name
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_TOKEN_COMMAND_H_
