#ifndef GRADORACLE_CORE_ERRORS_H_
#define GRADORACLE_CORE_ERRORS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// An error of gradoracle is an absl::Status whose payloads say, for programs, what its message says for people:
// which field was wrong and a stable reason string. Both survive the wire (proto/status_conversion.h).
namespace gradoracle {

// Returns a status of `code` carrying `reason` (UPPER_SNAKE_CASE, stable, listed in docs/errors.md) and the name of the
// offending field (`weights`, `batch_size`, `count` ...; empty when no field is to blame). The message must name the
// field, its value and what is allowed; it must never hold anything computed from the private data.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view field,
                       absl::string_view message);

// Shorthands: malformed by itself; well-formed but outside a limit of this oracle.
absl::Status InvalidField(absl::string_view reason, absl::string_view field, absl::string_view message);
absl::Status FieldOutOfRange(absl::string_view reason, absl::string_view field, absl::string_view message);

// The payloads again; nullopt when the status carries none.
std::optional<std::string> ErrorReason(const absl::Status& status);
std::optional<std::string> ErrorField(const absl::Status& status);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ERRORS_H_
