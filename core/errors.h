#ifndef GRADORACLE_CORE_ERRORS_H_
#define GRADORACLE_CORE_ERRORS_H_

#include <cstdint>
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

// A budget that does not pay for what was asked, in gradients.
struct Quota {
  int64_t limit = 0;      // over all time
  int64_t spent = 0;      // more than limit only where the limit was lowered later
  int64_t requested = 0;  // what the refused piece would have cost
  int64_t remaining = 0;  // max(0, limit - spent)

  friend bool operator==(const Quota&, const Quota&) = default;
};

// kResourceExhausted carrying `reason` and `quota`; the message is `subject` ("the budget of 'alice'") followed by the
// four numbers and what they count. `field`: what a smaller value of would help; empty: none.
absl::Status MakeQuotaError(absl::string_view reason, absl::string_view subject, const Quota& quota,
                            absl::string_view unit = "gradients", absl::string_view field = "");

// The payloads again; nullopt when the status carries none.
std::optional<std::string> ErrorReason(const absl::Status& status);
std::optional<std::string> ErrorField(const absl::Status& status);
std::optional<Quota> ErrorQuota(const absl::Status& status);
// Puts a quota on an error that came without: for whoever reads one from the wire.
void SetErrorQuota(const Quota& quota, absl::Status& error);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ERRORS_H_
