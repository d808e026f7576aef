#ifndef GRADORACLE_CORE_STATUS_MACROS_H_
#define GRADORACLE_CORE_STATUS_MACROS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Early return on error (Debian's Abseil 20220623 has no status_macros.h of its own).
//   GRADORACLE_RETURN_IF_ERROR(Validate(query));
//   GRADORACLE_ASSIGN_OR_RETURN(const Scaling scaling, ComputeScaling(data));
#define GRADORACLE_RETURN_IF_ERROR(expression)                                    \
  do {                                                                            \
    if (absl::Status gradoracle_status = (expression); !gradoracle_status.ok()) { \
      return gradoracle_status;                                                   \
    }                                                                             \
  } while (false)

#define GRADORACLE_MACRO_CONCAT_INNER(a, b) a##b
#define GRADORACLE_MACRO_CONCAT(a, b) GRADORACLE_MACRO_CONCAT_INNER(a, b)
#define GRADORACLE_ASSIGN_OR_RETURN(declaration, expression) \
  GRADORACLE_ASSIGN_OR_RETURN_INNER(GRADORACLE_MACRO_CONCAT(gradoracle_statusor_, __LINE__), declaration, expression)
#define GRADORACLE_ASSIGN_OR_RETURN_INNER(statusor, declaration, expression) \
  auto statusor = (expression);                                              \
  if (!statusor.ok()) return std::move(statusor).status();                   \
  declaration = *std::move(statusor)

#endif  // GRADORACLE_CORE_STATUS_MACROS_H_
