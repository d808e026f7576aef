// Uses gradoracle::report: the smallest report becomes a page, with all its parts inside the library.
#include <gradoracle/client/report/audit_report.h>

#include <iostream>

int main() {
  const nlohmann::json report = {{"schema", gradoracle::kAuditReportSchema},
                                 {"verdict", "Nothing was tried."},
                                 {"mode", "simulation"},
                                 {"dataset", {{"dimension", 2}}},
                                 {"policy", nlohmann::json::object()},
                                 {"batch_size", 32},
                                 {"budget", 100},
                                 {"strongest", nlohmann::json::array()},
                                 {"attacks", nlohmann::json::array()},
                                 {"findings", nlohmann::json::object()},
                                 {"recommended_budget", nullptr},
                                 {"assumptions", nlohmann::json::array()}};
  const absl::StatusOr<std::string> page = gradoracle::RenderAuditReport(report);
  if (!page.ok()) {
    std::cout << page.status() << "\n";
    return 1;
  }
  std::cout << "page of " << page->size() << " bytes\n";
  return page->find("Nothing was tried.") != std::string::npos && page->find("vegaLite") != std::string::npos ? 0 : 1;
}
