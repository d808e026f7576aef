#ifndef GRADORACLE_CLIENT_REPORT_AUDIT_REPORT_H_
#define GRADORACLE_CLIENT_REPORT_AUDIT_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

// The report of an audit: what `gradoracle audit` found, as JSON for programs (docs/schema/audit-report-1.json) and as
// one HTML page for people. The page is a template that holds the JSON and draws itself from it: no number is computed
// here.
//
//   nlohmann::json report = ...;
//   GRADORACLE_RETURN_IF_ERROR(WriteAuditReport(report, "audit-2026"));   // audit-2026/report.json,
//   audit-2026/report.html
//
// All functions are pure or touch only the files named; they may be called from any thread.
namespace gradoracle {

// The value of the key `schema` in reports that this version writes and reads.
inline constexpr char kAuditReportSchema[] = "gradoracle-audit/1";

// OK when `report` has the schema's version and shape. Keys the schema does not know are allowed.
// Errors: kInvalidArgument REPORT_VERSION, REPORT_INVALID; the field is the path of the value to blame, e.g.
// `strongest[2].relative_error`, and the message says what is allowed there. Numbers must be finite.
absl::Status CheckAuditReport(const nlohmann::json& report);

// The page: HTML in UTF-8 that opens from a file, asks no network for anything, and runs no script but its own (content
// security policy by the scripts' SHA-256). Values of the report are data in it, whatever they hold; bytes that are no
// UTF-8 are replaced.
// Errors: those of CheckAuditReport.
absl::StatusOr<std::string> RenderAuditReport(const nlohmann::json& report);

// Writes report.json and report.html into `directory`, which is made if need be. Both are complete under temporary
// names before the first is renamed into place, so that a failure leaves what was there before. Errors: those of
// CheckAuditReport; kInvalidArgument REPORT_UNWRITABLE, field `out`.
absl::Status WriteAuditReport(const nlohmann::json& report, const std::string& directory);

// Reads and checks a report.json.
// Errors: kNotFound REPORT_NOT_FOUND; kInvalidArgument REPORT_UNREADABLE, REPORT_NOT_JSON (with the place in the file;
// also arrays or objects nested deeper than 64), and those of CheckAuditReport; the message starts with the path.
absl::StatusOr<nlohmann::json> ReadAuditReport(const std::string& path);

// Writes the page alone. Errors: kInvalidArgument REPORT_UNWRITABLE, field `out`.
absl::Status WriteReportPage(const std::string& page, const std::string& path);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_REPORT_AUDIT_REPORT_H_
