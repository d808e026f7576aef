#ifndef GRADORACLE_CLIENT_REPORT_REPORT_PAGE_H_
#define GRADORACLE_CLIENT_REPORT_REPORT_PAGE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

// The pieces of the page, each a pure function.
namespace gradoracle {

// JSON that may stand inside a <script> element: ASCII, every `<`, `>` and `&` as \u003c, \u003e, \u0026, so that no
// value can end the element or begin a comment. Bytes that are no UTF-8 become U+FFFD.
std::string ScriptSafeJson(const nlohmann::json& value);

// Text for HTML, between tags or in a quoted attribute: & < > " ' escaped.
std::string EscapeHtml(absl::string_view text);

// A source expression of a content security policy: 'sha256-<base64 of the SHA-256 of contents>'.
std::string PolicyHash(absl::string_view contents);

// The whole page for a report that has passed CheckAuditReport.
std::string ReportPage(const nlohmann::json& report);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_REPORT_REPORT_PAGE_H_
