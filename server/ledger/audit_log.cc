#include "server/ledger/audit_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr size_t kHashDigits = 64;
constexpr absl::string_view kBeforeHash = ",\"hash\":\"";
constexpr absl::string_view kAfterHash = "\"}";

// The line of `record`, its end of line included; the record becomes the summary's last.
std::string Seal(const nlohmann::ordered_json& record, AuditSummary& summary);
// Takes the next line, which must follow the summary. Returns what is wrong with it; empty: nothing.
std::string Follow(const std::string& line, AuditSummary& summary);
void Count(const nlohmann::ordered_json& record, AuditSummary& summary);

}  // namespace

absl::StatusOr<AuditSummary> VerifyAuditLog(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) {
    return MakeError(absl::StatusCode::kNotFound, "FILE_UNREADABLE", "audit_log",
                     absl::StrCat(path, ": the audit log cannot be read"));
  }
  AuditSummary summary;
  summary.last_hash = std::string(kHashDigits, '0');
  std::string line;
  while (std::getline(file, line)) {
    if (file.eof()) {  // no end of line
      summary.torn_bytes = static_cast<int64_t>(line.size());
      break;
    }
    if (const std::string wrong = Follow(line, summary); !wrong.empty()) {
      return MakeError(absl::StatusCode::kDataLoss, "AUDIT_LOG_CORRUPT", "audit_log",
                       absl::StrCat(path, ":", summary.records + 1, ": ", wrong,
                                    ". The log was changed, or the disk has lost something; nothing after this line "
                                    "can be relied on"));
    }
    summary.bytes += static_cast<int64_t>(line.size()) + 1;
  }
  // What a broken disk holds back is not the end of the log: whatever were written there would cover it.
  if (file.bad()) {
    return MakeError(absl::StatusCode::kUnavailable, "AUDIT_LOG_UNAVAILABLE", "audit_log",
                     absl::StrCat(path, ": the audit log cannot be read beyond line ", summary.records));
  }
  return summary;
}

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(const std::string& path) {
  const bool made = !std::filesystem::exists(path);
  auto log =
      std::unique_ptr<AuditLog>(new AuditLog(path, open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)));
  if (log->file_ < 0) return log->Error("cannot be opened");
  struct stat found = {};
  if (fstat(log->file_, &found) != 0 || !S_ISREG(found.st_mode)) {
    errno = EINVAL;
    return log->Error("is not a regular file");
  }
  if (flock(log->file_, LOCK_EX | LOCK_NB) != 0) {
    return MakeError(absl::StatusCode::kUnavailable, "AUDIT_LOG_IN_USE", "audit_log",
                     absl::StrCat(path, ": another process writes this audit log; each server needs its own"));
  }
  if (made) {
    const std::filesystem::path parent = std::filesystem::path(path).parent_path();
    const int folder = open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = folder >= 0 && fsync(folder) == 0;
    if (folder >= 0) close(folder);
    if (!synced) return log->Error("its directory cannot be synced");
  }
  GRADORACLE_ASSIGN_OR_RETURN(log->summary_, VerifyAuditLog(path));
  if (log->summary_.bytes + log->summary_.torn_bytes != static_cast<int64_t>(std::filesystem::file_size(path))) {
    errno = EIO;
    return log->Error("was not read whole");
  }
  log->dirty_ = log->summary_.torn_bytes > 0;
  log->summary_.torn_bytes = 0;
  return log;
}

AuditLog::~AuditLog() {
  if (file_ >= 0) close(file_);
}

absl::Status AuditLog::Append(const std::vector<nlohmann::ordered_json>& records) {
  if (dirty_ && ftruncate(file_, summary_.bytes) != 0) return Error("cannot be mended");
  dirty_ = true;
  AuditSummary after = summary_;
  std::string text;
  for (const nlohmann::ordered_json& record : records) text += Seal(record, after);
  GRADORACLE_RETURN_IF_ERROR(Write(text));
  if (fdatasync(file_) != 0) return Error("cannot be synced");
  after.bytes += static_cast<int64_t>(text.size());
  summary_ = std::move(after);
  dirty_ = false;
  return absl::OkStatus();
}

absl::Status AuditLog::Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error("cannot be written");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// To be called right after what failed.
absl::Status AuditLog::Error(absl::string_view what) const {
  return MakeError(absl::StatusCode::kUnavailable, "AUDIT_LOG_UNAVAILABLE", "audit_log",
                   absl::StrCat(path_, ": the audit log ", what, ": ", std::strerror(errno)));
}

namespace {

// The hash is the last member, so that the rest of the line is what it is the hash of, byte for byte, whatever a JSON
// library makes of it.
std::string Seal(const nlohmann::ordered_json& record, AuditSummary& summary) {
  nlohmann::ordered_json sealed = {
      {"number", summary.records + 1},
      {"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone())}};
  sealed.update(record);
  sealed["previous"] = summary.last_hash;
  std::string body = sealed.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  summary.last_hash = Sha256Hex(body);
  ++summary.records;
  Count(sealed, summary);
  body.pop_back();  // the brace
  return absl::StrCat(body, kBeforeHash, summary.last_hash, kAfterHash, "\n");
}

std::string Follow(const std::string& line, AuditSummary& summary) {
  const size_t tail = kBeforeHash.size() + kHashDigits + kAfterHash.size();
  if (line.size() < tail || !absl::EndsWith(line, kAfterHash)) return "not a record with a hash at its end";
  const absl::string_view text = line;
  if (text.substr(line.size() - tail, kBeforeHash.size()) != kBeforeHash) return "not a record with a hash at its end";
  const std::string body = absl::StrCat(text.substr(0, line.size() - tail), "}");
  const std::string hash(text.substr(line.size() - kAfterHash.size() - kHashDigits, kHashDigits));
  if (Sha256Hex(body) != hash) return "the record does not have the hash it claims";
  const auto record = nlohmann::ordered_json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return "not a JSON object";
  if (record.value("previous", nlohmann::ordered_json()) != summary.last_hash) {
    return "the record does not follow the one before it";
  }
  if (record.value("number", nlohmann::ordered_json()) != summary.records + 1) return "the record has another number";
  summary.last_hash = hash;
  ++summary.records;
  Count(record, summary);
  return "";
}

void Count(const nlohmann::ordered_json& record, AuditSummary& summary) {
  const auto number = [&](const char* key) -> int64_t {
    const auto found = record.find(key);
    return found != record.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
  };
  const auto principal = record.find("principal");
  if (record.value("event", nlohmann::ordered_json()) != "charge" || principal == record.end() ||
      !principal->is_string())
    return;
  int64_t& spent = summary.spent[principal->get<std::string>()];
  spent = std::max(spent, number("spent"));
}

}  // namespace
}  // namespace gradoracle
