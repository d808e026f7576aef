#ifndef GRADORACLE_CLIENT_REPORT_JSON_SCHEMA_H_
#define GRADORACLE_CLIENT_REPORT_JSON_SCHEMA_H_

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

// Checks `value` against a JSON Schema (draft 2020-12) that uses only the keywords
//   type, const, enum, minimum, maximum, minLength, minItems, maxItems, required, properties, additionalProperties (a
//   schema), items (a schema), $ref ("#/$defs/NAME"), and those that only describe.
// Stricter than the standard in one point: a number must be finite, which JSON text cannot break but a value in memory
// can. Returns OK, or kInvalidArgument REPORT_INVALID for the first value that does not fit, the field being its path
// from the root ("strongest[2].relative_error"; "report" for the root itself). Requires a schema without other keywords
// and without circular references (UnknownSchemaKeyword tells).
absl::Status CheckAgainstSchema(const nlohmann::json& value, const nlohmann::json& schema);

// The first keyword of `schema` that CheckAgainstSchema would ignore though it restricts something; "" when there is
// none.
std::string UnknownSchemaKeyword(const nlohmann::json& schema);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_REPORT_JSON_SCHEMA_H_
