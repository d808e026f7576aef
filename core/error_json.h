#ifndef GRADORACLE_CORE_ERROR_JSON_H_
#define GRADORACLE_CORE_ERROR_JSON_H_

#include <string>

#include "absl/status/status.h"

namespace gradoracle {

// {"error": {"code", "reason", "field"?, "message"}}: how both programs tell a program of an error. reason is
// UNSPECIFIED where a status carries none. indent: spaces a level; -1 for one line. Bytes that are no UTF-8 are
// replaced.
std::string ErrorJson(const absl::Status& error, int indent);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ERROR_JSON_H_
