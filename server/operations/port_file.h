#ifndef GRADORACLE_SERVER_OPERATIONS_PORT_FILE_H_
#define GRADORACLE_SERVER_OPERATIONS_PORT_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/operations/listen_address.h"

namespace gradoracle {

// The file a started server says its address in: one line, HOST:PORT. Written to a temporary name in the same folder
// and renamed, so that whoever waits for the file never reads half of it. Errors: kUnavailable PORT_FILE, field
// port_file.
absl::Status WritePortFile(const std::string& path, const ListenAddress& address);

// Removes what an earlier server left at `path`; nothing there is fine. Errors: as above.
absl::Status RemovePortFile(const std::string& path);

// Errors: kUnavailable PORT_FILE when there is none (yet) or it holds no address.
absl::StatusOr<ListenAddress> ReadPortFile(const std::string& path);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_PORT_FILE_H_
