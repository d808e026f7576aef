#include "server/identity/principal.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {

absl::Status CheckPrincipal(absl::string_view name) {
  constexpr size_t kMaxLength = 256;
  const bool graphic = std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isgraph(c); });
  if (!name.empty() && name.size() <= kMaxLength && graphic && name != kAnonymous) return absl::OkStatus();
  return InvalidField("PRINCIPAL_INVALID", "principal",
                      absl::StrCat("principal must be 1 to ", kMaxLength,
                                   " printable ASCII characters without blanks, and not '", kAnonymous, "'"));
}

}  // namespace gradoracle
