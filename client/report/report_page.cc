#include "client/report/report_page.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/report/report_assets.h"
#include "core/random_stream.h"

namespace gradoracle {
namespace {

// `template_text` with each {{name}} replaced by its value. One pass: a value that looks like a place is not one.
std::string FillTemplate(absl::string_view template_text,
                         const std::vector<std::pair<absl::string_view, absl::string_view>>& values) {
  return absl::StrReplaceAll(template_text, values);
}

// In the order they run.
std::vector<absl::string_view> Scripts() {
  return {kVegaScript, kVegaLiteScript, kVegaInterpreterScript, kReportWordsScript, kReportChartsScript, kReportScript};
}

// No script may come from anywhere else, nothing may be loaded, and nothing may be compiled from text at run time.
std::string SecurityPolicy() {
  std::string scripts;
  for (const absl::string_view script : Scripts()) {
    absl::StrAppend(&scripts, " ", PolicyHash(script));
  }
  return absl::StrCat("default-src 'none'; script-src", scripts, "; style-src ", PolicyHash(kReportStyle),
                      "; base-uri 'none'; form-action 'none'");
}

}  // namespace

std::string ScriptSafeJson(const nlohmann::json& value) {
  const std::string json = value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  return absl::StrReplaceAll(json, {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}});
}

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string PolicyHash(absl::string_view contents) {
  return absl::StrCat("'sha256-", absl::Base64Escape(Sha256(contents)), "'");
}

std::string ReportPage(const nlohmann::json& report) {
  // Through JSON and back, so that bytes that are no UTF-8 are replaced here too.
  const std::string clean = report.at("verdict").dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string verdict = EscapeHtml(nlohmann::json::parse(clean).get<std::string>());
  const std::string policy = SecurityPolicy();
  const std::string data = ScriptSafeJson(report);
  const std::string figures = absl::StrReplaceAll(kReportFigures, {{"<", "\\u003c"}});  // in their order
  std::string scripts;
  for (const absl::string_view script : Scripts()) absl::StrAppend(&scripts, "<script>", script, "</script>\n");
  return FillTemplate(kReportTemplate, {{"{{policy}}", policy},
                                        {"{{style}}", kReportStyle},
                                        {"{{verdict}}", verdict},
                                        {"{{report}}", data},
                                        {"{{figures}}", figures},
                                        {"{{scripts}}", scripts}});
}

}  // namespace gradoracle
