#include "client/report/audit_report.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "client/report/json_schema.h"
#include "client/report/report_assets.h"
#include "client/report/report_page.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 64;  // of arrays and objects; the schema needs 6

// A file under a temporary name, until Commit renames it into place; removed when that does not happen. Its owner's
// alone (mode 0600, whatever stood there before): a report holds eigenvalues and errors computed from private data.
class PendingFile {
 public:
  explicit PendingFile(const std::string& path)
      : path_(path), temporary_(absl::StrCat(path, ".tmp", static_cast<int64_t>(getpid()))) {}
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile() { std::remove(temporary_.c_str()); }

  absl::Status Write(absl::string_view bytes) {
    std::remove(temporary_.c_str());  // of a process that had this id and died
    const int descriptor = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return Unwritable();
    int error = 0;
    while (error == 0 && !bytes.empty()) {
      const ssize_t size = write(descriptor, bytes.data(), bytes.size());
      if (size >= 0) bytes.remove_prefix(static_cast<size_t>(size));
      if (size < 0 && errno != EINTR) error = errno;
    }
    if (close(descriptor) != 0 && error == 0) error = errno;
    errno = error;
    return error == 0 ? absl::OkStatus() : Unwritable();
  }
  absl::Status Commit() {
    errno = 0;
    return std::rename(temporary_.c_str(), path_.c_str()) == 0 ? absl::OkStatus() : Unwritable();
  }

 private:
  absl::Status Unwritable() const {
    return InvalidField("REPORT_UNWRITABLE", "out",
                        absl::StrCat("out: cannot write ", path_, ": ", std::strerror(errno != 0 ? errno : EIO)));
  }

  std::string path_;
  std::string temporary_;
};

absl::Status AtPath(const std::string& path, const absl::Status& error) {
  return MakeError(error.code(), ErrorReason(error).value_or("REPORT_INVALID"), ErrorField(error).value_or("report"),
                   absl::StrCat(path, ": ", error.message()));
}

absl::StatusOr<Json> Parse(const std::string& text) {
  bool too_deep = false;
  const auto watch_depth = [&too_deep](int depth, Json::parse_event_t event, Json&) {
    const bool opens = event == Json::parse_event_t::array_start || event == Json::parse_event_t::object_start;
    too_deep = too_deep || (opens && depth >= kDeepest);  // depth: of what it stands in
    return !too_deep;                                     // false: dropped
  };
  try {
    Json json = Json::parse(text, watch_depth);
    if (!too_deep) return json;
    return InvalidField("REPORT_NOT_JSON", "report",
                        absl::StrCat("nests arrays or objects more than ", kDeepest, " deep, which no report does"));
  } catch (const Json::exception& error) {
    return InvalidField("REPORT_NOT_JSON", "report", absl::StrCat("is not JSON: ", error.what()));
  }
}

const Json& Schema() {
  static const auto* const schema = new Json(Json::parse(kAuditReportSchemaText));
  return *schema;
}

}  // namespace

absl::Status CheckAuditReport(const Json& report) {
  if (report.is_object() && report.contains("schema") && report["schema"] != kAuditReportSchema) {
    return InvalidField(
        "REPORT_VERSION", "schema",
        absl::StrCat("schema is not \"", kAuditReportSchema,
                     "\", the only one this version reads; use the version of gradoracle that wrote it"));
  }
  return CheckAgainstSchema(report, Schema());
}

absl::StatusOr<std::string> RenderAuditReport(const Json& report) {
  GRADORACLE_RETURN_IF_ERROR(CheckAuditReport(report));
  return ReportPage(report);
}

absl::Status WriteAuditReport(const Json& report, const std::string& directory) {
  GRADORACLE_ASSIGN_OR_RETURN(const std::string page, RenderAuditReport(report));
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return InvalidField("REPORT_UNWRITABLE", "out",
                        absl::StrCat("out: cannot make the folder ", directory, ": ", error.message()));
  }
  PendingFile json_file((std::filesystem::path(directory) / "report.json").string());
  PendingFile page_file((std::filesystem::path(directory) / "report.html").string());
  GRADORACLE_RETURN_IF_ERROR(
      json_file.Write(report.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n"));
  GRADORACLE_RETURN_IF_ERROR(page_file.Write(page));
  GRADORACLE_RETURN_IF_ERROR(json_file.Commit());
  return page_file.Commit();
}

absl::StatusOr<Json> ReadAuditReport(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return MakeError(absl::StatusCode::kNotFound, "REPORT_NOT_FOUND", "report", absl::StrCat(path, ": no such file"));
  }
  std::ifstream file;
  if (!std::filesystem::is_directory(path, ignored)) file.open(path, std::ios::binary);
  if (!file.is_open()) return InvalidField("REPORT_UNREADABLE", "report", absl::StrCat(path, ": cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  absl::StatusOr<Json> report = Parse(text);
  if (!report.ok()) return AtPath(path, report.status());
  if (absl::Status fits = CheckAuditReport(*report); !fits.ok()) return AtPath(path, fits);
  return report;
}

absl::Status WriteReportPage(const std::string& page, const std::string& path) {
  PendingFile file(path);
  GRADORACLE_RETURN_IF_ERROR(file.Write(page));
  return file.Commit();
}

}  // namespace gradoracle
