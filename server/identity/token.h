#ifndef GRADORACLE_SERVER_IDENTITY_TOKEN_H_
#define GRADORACLE_SERVER_IDENTITY_TOKEN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// A bearer token is "gradoracle_" and 256 random bits in lower-case hex: 75 characters, recognisable by scanners that
// look for leaked secrets. Only its SHA-256 is ever stored; a plain hash is enough, as there is nothing to guess in 256
// random bits.
namespace gradoracle {

inline constexpr absl::string_view kTokenPrefix = "gradoracle_";

// A new token, from the operating system's generator. Errors: kInternal RANDOM_GENERATOR_FAILED.
absl::StatusOr<std::string> GenerateToken();

// The public name of a token that is about to be stored: 12 hex digits, unrelated to it.
absl::StatusOr<std::string> GenerateTokenId();

// SHA-256 of the whole token: 32 raw bytes, as StoredToken::sha256.
std::string TokenDigest(absl::string_view token);

// The token in the value of an `authorization` header: "Bearer TOKEN", the scheme in any case, blanks around the token
// ignored. Empty when the value is of no such form.
absl::string_view BearerToken(absl::string_view authorization);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_TOKEN_H_
