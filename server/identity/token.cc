#include "server/identity/token.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {

absl::StatusOr<std::string> GenerateToken() {
  GRADORACLE_ASSIGN_OR_RETURN(const std::string first, RandomIdentifier());
  GRADORACLE_ASSIGN_OR_RETURN(const std::string second, RandomIdentifier());
  return absl::StrCat(kTokenPrefix, first, second);
}

absl::StatusOr<std::string> GenerateTokenId() {
  constexpr size_t kDigits = 12;
  GRADORACLE_ASSIGN_OR_RETURN(const std::string digits, RandomIdentifier());
  return digits.substr(0, kDigits);
}

std::string TokenDigest(absl::string_view token) { return Sha256(token); }

absl::string_view BearerToken(absl::string_view authorization) {
  constexpr absl::string_view kScheme = "bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) return "";
  return absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
}

}  // namespace gradoracle
