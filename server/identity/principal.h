#ifndef GRADORACLE_SERVER_IDENTITY_PRINCIPAL_H_
#define GRADORACLE_SERVER_IDENTITY_PRINCIPAL_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradoracle {

// The one caller of a server that asks nobody who they are.
inline constexpr char kAnonymous[] = "anonymous";

// 1 to 256 printable ASCII characters without blanks, so that a name looks the same in a certificate, a log line, a
// table and a database; not `anonymous`. Whether anybody is called so is not asked. Errors: kInvalidArgument
// PRINCIPAL_INVALID, field principal; the message does not repeat the name.
absl::Status CheckPrincipal(absl::string_view name);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_PRINCIPAL_H_
