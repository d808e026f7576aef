#ifndef GRADORACLE_SERVER_OWNER_TOKEN_FILE_H_
#define GRADORACLE_SERVER_OWNER_TOKEN_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradoracle {

// Writes a token and a line end into a new file that only this user can read (mode 0600, whatever the umask), durably.
// Nothing that exists is written to, so that no token is lost and none goes to a terminal.
// Errors: kInvalidArgument TOKEN_FILE_EXISTS; kUnavailable TOKEN_FILE_UNWRITABLE; then no file is left behind.
absl::Status WriteTokenFile(const std::string& path, absl::string_view token);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_TOKEN_FILE_H_
