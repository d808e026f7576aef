#include "core/error_json.h"

#include "core/errors.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

std::string ErrorJson(const absl::Status& error, int indent) {
  nlohmann::ordered_json body = {{"code", absl::StatusCodeToString(error.code())},
                                 {"reason", ErrorReason(error).value_or("UNSPECIFIED")}};
  if (const auto field = ErrorField(error)) body["field"] = *field;
  body["message"] = std::string(error.message());
  // Bytes of an error text may come from anywhere; JSON must stay JSON.
  return nlohmann::ordered_json{{"error", body}}.dump(indent, ' ', false,
                                                      nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace gradoracle
