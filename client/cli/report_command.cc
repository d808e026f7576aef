#include "client/cli/report_command.h"

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/flag_values.h"
#include "client/report/audit_report.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

// The verdict comes from a file: nothing in it may steer a terminal.
std::string WithoutControlCharacters(std::string text) {
  for (char& byte : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(byte))) byte = ' ';
  }
  return text;
}

}  // namespace

std::string ReportCommand::Description() const { return "Makes the HTML page of an audit's report.json again."; }

void ReportCommand::AddFlags(FlagSet& flags) {
  flags.Positionals("REPORT", reports, "The report.json that `gradoracle audit` has written");
  flags.Text("--out", out, "Where to write the page (default: beside it, with the ending .html)", "FILE.html");
  flags.Switch("--json", json, "Print one JSON object and nothing else");
  flags.Footer(
      "The page is one file that needs no network, reads on paper too, and runs no script but its own.\n\n"
      "Example:\n  gradoracle report audit/report.json");
}

absl::Status ReportCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(RequireValue(reports.empty() ? "" : reports.front(), "report", "one report.json"));
  if (reports.size() > 1) {
    return InvalidField("USAGE", "report",
                        absl::StrCat("report: ", reports.size(), " files were given, but must be one"));
  }
  if (out.empty()) out = std::filesystem::path(reports.front()).replace_extension(".html").string();
  return CheckDifferentFiles({{"report", reports.front()}, {"out", out}});
}

Outcome ReportCommand::Run(Environment& environment) {
  const absl::StatusOr<nlohmann::json> report = ReadAuditReport(reports.front());
  if (!report.ok()) return UsageError(report.status());
  const absl::StatusOr<std::string> page = RenderAuditReport(*report);
  if (!page.ok()) return UsageError(page.status());
  if (absl::Status written = WriteReportPage(*page, out); !written.ok()) return UsageError(written);
  if (json) {
    const nlohmann::ordered_json result = {
        {"report", reports.front()}, {"page", out}, {"verdict", report->at("verdict")}};
    environment.out << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  } else {
    environment.out << WithoutControlCharacters(report->at("verdict").get<std::string>()) << "\n"
                    << "page written to  " << out << "\n";
  }
  return {};
}

}  // namespace gradoracle
