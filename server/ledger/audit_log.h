#ifndef GRADORACLE_SERVER_LEDGER_AUDIT_LOG_H_
#define GRADORACLE_SERVER_LEDGER_AUDIT_LOG_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

// The owner's record of every charge and every operation on the ledger: one JSON object a line,
//   {"number":7,"event":"charge","principal":"alice",...,"previous":"<hash of line 6>","hash":"<SHA-256>"}
// where hash is the SHA-256, in lower-case hex, of the line as it reads without its hash (`...,"previous":"..."}`).
// A line changed, removed, added or moved breaks the chain from there on. Who can write the file can still cut its end
// or make all of it anew: keep the last hash somewhere else to notice that.
namespace gradoracle {

struct AuditSummary {
  int64_t records = 0;
  std::string last_hash;   // 64 hex digits; zeros when there is no record
  int64_t bytes = 0;       // of complete lines
  int64_t torn_bytes = 0;  // of a last line that breaks off: a crash while it was written
  // What each principal had spent in all when last charged: the largest `spent` of its charges.
  std::map<std::string, int64_t> spent;
};

// Reads the whole log. Errors: kNotFound FILE_UNREADABLE; kDataLoss AUDIT_LOG_CORRUPT, naming FILE:LINE and what is
// wrong there; kUnavailable AUDIT_LOG_UNAVAILABLE where the disk fails. A last line that breaks off without its end of
// line is no error.
absl::StatusOr<AuditSummary> VerifyAuditLog(const std::string& path);

// The log being written, by one process at a time and one thread.
class AuditLog {
 public:
  // Makes the file (mode 0600) or verifies what it holds, and cuts off a torn last line. Errors: VerifyAuditLog's;
  // kUnavailable AUDIT_LOG_IN_USE, AUDIT_LOG_UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(const std::string& path);
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // Appends records (objects; number, time, previous and hash are added here) and syncs, once for all. After an error
  // nothing of them counts as written, and the next call takes away what may be there of them. Errors: kUnavailable
  // AUDIT_LOG_UNAVAILABLE.
  absl::Status Append(const std::vector<nlohmann::ordered_json>& records);

  const AuditSummary& summary() const { return summary_; }

 private:
  AuditLog(const std::string& path, int file) : path_(path), file_(file) {}
  absl::Status Write(absl::string_view text);
  absl::Status Error(absl::string_view what) const;

  const std::string path_;
  const int file_;
  AuditSummary summary_;
  bool dirty_ = false;  // there may be something behind summary_.bytes
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_LEDGER_AUDIT_LOG_H_
