#ifndef GRADORACLE_CLIENT_REPORT_REPORT_ASSETS_H_
#define GRADORACLE_CLIENT_REPORT_REPORT_ASSETS_H_

#include "absl/strings/string_view.h"

// Files of the repository inside the library, byte for byte (cmake/gradoracle_embed.cmake makes the .cc at build time).
namespace gradoracle {

extern const absl::string_view kAuditReportSchemaText;  // docs/schema/audit-report-1.json
extern const absl::string_view kReportTemplate;         // client/report/page/report.html
extern const absl::string_view kReportStyle;            // client/report/page/report.css
extern const absl::string_view kReportFigures;          // client/report/page/figures.json
extern const absl::string_view kReportWordsScript;      // client/report/page/words.js
extern const absl::string_view kReportChartsScript;     // client/report/page/charts.js
extern const absl::string_view kReportScript;           // client/report/page/report.js
extern const absl::string_view kVegaScript;             // third_party/vega/vega.min.js
extern const absl::string_view kVegaLiteScript;         // third_party/vega/vega-lite.min.js
extern const absl::string_view kVegaInterpreterScript;  // third_party/vega/vega-interpreter.min.js

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_REPORT_REPORT_ASSETS_H_
