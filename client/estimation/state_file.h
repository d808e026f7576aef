#ifndef GRADORACLE_CLIENT_ESTIMATION_STATE_FILE_H_
#define GRADORACLE_CLIENT_ESTIMATION_STATE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/estimation/estimator_state.h"

// An EstimatorState in a file. Format 1, a CBOR sequence (RFC 8742) of
//   the text "gradoracle-state", the format's number, the length in bytes of the map that follows (always 8 bytes
//   long), a map with the query, and for each oracle its identity, runs, options and covariance, the SHA-256 of
//   everything before, a byte string.
// Arrays are byte strings of little-endian float64, by columns, whose shapes follow from `dimension` and the counts.
// Size: 16 d (d + 1) + d^2 numbers an oracle once all groups are in use. Memory while saving or loading: three times
// that.
namespace gradoracle {

// Reads a state. Errors, the field being `state` and the message beginning with the path: kNotFound STATE_NOT_FOUND;
// kInvalidArgument STATE_UNREADABLE (cannot be read), STATE_FOREIGN (another kind of file), STATE_VERSION (another
// format), STATE_TRUNCATED, STATE_CORRUPT (checksum), STATE_INVALID (contents that contradict each other);
// kResourceExhausted MEMORY_EXCEEDED.
absl::StatusOr<EstimatorState> LoadState(const std::string& path);

// Writes it to a temporary name in the same folder, flushes it to the disk and renames it: the file is the old state or
// the new one, never half of either. Errors: kInvalidArgument STATE_UNWRITABLE.
absl::Status SaveState(const EstimatorState& state, const std::string& path);

// Whether a state could be written there, to be asked before gradients are paid for. Errors: STATE_UNWRITABLE.
absl::Status CheckStateWritable(const std::string& path);

// The file's bytes, for tests and other transports; `name` stands in messages.
std::string EncodeState(const EstimatorState& state);
absl::StatusOr<EstimatorState> DecodeState(const std::string& bytes, const std::string& name);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_STATE_FILE_H_
