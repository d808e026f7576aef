#include "server/ledger/audit_log.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/ledger/memory_store.h"
#include "server/ledger/open_ledger.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {
namespace {

// While it lives, no file of this process grows beyond `bytes`.
class FullDisk {
 public:
  explicit FullDisk(uint64_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit tight = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_ = {};
};

struct AuditLogTest : testing::Test {
  LedgerOptions Options() {
    LedgerOptions options;
    options.location = "sqlite:" + ledger_path;
    options.audit_log = path;
    options.dataset_version = "v1";
    options.default_limit = 1000;
    return options;
  }
  std::vector<std::string> Lines() {
    std::ifstream file(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    EXPECT_EQ(lines.back(), "") << "ends with an end of line";
    lines.pop_back();
    return lines;
  }
  void Write(const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
  // Five charges of alice, one of bob.
  void MakeHistory() {
    const auto ledger = OpenLedger(Options()).value();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(ChargeNow(*ledger, Piece("alice", i == 0 ? "id" : "", 0, 10)).ok());
    ASSERT_TRUE(ChargeNow(*ledger, Piece("alice", "id", 0, 10)).ok()) << "free";
    ASSERT_TRUE(ChargeNow(*ledger, Piece("bob", "", 0, 3)).ok());
    ASSERT_TRUE(ledger->SetLimit("alice", 60).ok());
    EXPECT_FALSE(ChargeNow(*ledger, Piece("alice", "", 0, 11)).ok());
  }

  // With a log larger than the ledger's files, so that a limit on the size of files meets the log first.
  std::unique_ptr<Ledger> OpenLedgerWithLargeLog() {
    EXPECT_TRUE(
        AuditLog::Open(path).value()->Append({{{"event", "note"}, {"text", std::string(size_t{4} << 20, 'x')}}}).ok());
    return OpenLedger(Options()).value();
  }

  TemporaryFolder folder;
  const std::string path = folder / "audit.jsonl";
  const std::string ledger_path = folder / "ledger.db";
};

TEST_F(AuditLogTest, TellsEveryChargeAndOperation) {
  MakeHistory();
  const auto summary = VerifyAuditLog(path);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->records, 8) << "serve, five and one charges, set_limit; a replay and a refusal leave none";
  EXPECT_EQ(summary->spent.at("alice"), 50);
  EXPECT_EQ(summary->spent.at("bob"), 3);
  const auto lines = Lines();
  const auto charge = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(charge["event"], "charge");
  EXPECT_EQ(charge["principal"], "alice");
  EXPECT_EQ(charge["request_id"], "id");
  EXPECT_EQ(charge["first"], 0);
  EXPECT_EQ(charge["count"], 10);
  EXPECT_EQ(charge["charged"], 10);
  EXPECT_EQ(charge["spent"], 10);
  EXPECT_EQ(charge["dataset_version"], "v1");
  EXPECT_EQ(nlohmann::json::parse(lines[7])["limit"], 60);
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  ASSERT_TRUE(ChargeNow(*OpenLedger(Options()).value(), Piece("bob", "", 0, 3)).ok());
  EXPECT_EQ(VerifyAuditLog(path)->records, 10) << "goes on where it was";
  EXPECT_EQ(VerifyAuditLog(path)->spent.at("bob"), 6);
}

// Every way to touch one line. Catches a chain that binds the hash of a line but not its place.
TEST_F(AuditLogTest, NoticesEveryTampering) {
  MakeHistory();
  const std::vector<std::string> lines = Lines();
  const auto expect_corrupt = [&](const std::vector<std::string>& changed, const std::string& what) {
    Write(absl::StrJoin(changed, "\n") + "\n");
    const absl::Status status = VerifyAuditLog(path).status();
    EXPECT_EQ(ErrorReason(status).value_or(""), "AUDIT_LOG_CORRUPT") << what;
    EXPECT_EQ(ErrorReason(OpenLedger(Options()).status()).value_or(""), "AUDIT_LOG_CORRUPT") << what;
  };
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    auto changed = lines;
    changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(i));
    expect_corrupt(changed, "removed");
    changed = lines;
    std::swap(changed[i], changed[i + 1]);
    expect_corrupt(changed, "moved");
    changed = lines;
    changed.insert(changed.begin() + static_cast<std::ptrdiff_t>(i), lines[i]);
    expect_corrupt(changed, "doubled");
  }
  for (size_t at = 0; at < lines[3].size(); at += 7) {
    auto changed = lines;
    changed[3][at] = static_cast<char>(changed[3][at] ^ 1);
    expect_corrupt(changed, "one bit");
  }
  expect_corrupt({"", lines[0]}, "an empty line");
  Write(absl::StrJoin(lines, "\n") + "\n");
  EXPECT_TRUE(VerifyAuditLog(path).ok());
}

// A crash while the last line was written: it is cut off, and the log goes on.
TEST_F(AuditLogTest, ATornLastLineIsCutOff) {
  MakeHistory();
  const std::vector<std::string> lines = Lines();
  const std::string whole = absl::StrJoin(lines, "\n") + "\n";
  for (const size_t length : {size_t{1}, lines[7].size() / 2, lines[7].size()}) {
    Write(whole + lines[7].substr(0, length));
    EXPECT_EQ(VerifyAuditLog(path)->torn_bytes, static_cast<int64_t>(length));
    const auto log = AuditLog::Open(path).value();
    ASSERT_TRUE(log->Append({{{"event", "x"}}}).ok());
    EXPECT_EQ(log->summary().records, 9);
    EXPECT_EQ(VerifyAuditLog(path)->records, 9);
    EXPECT_EQ(Lines().size(), 9U);
  }
}

TEST_F(AuditLogTest, OneProcessWritesIt) {
  const auto first = AuditLog::Open(path).value();
  ExpectRefused(AuditLog::Open(path).status(), absl::StatusCode::kUnavailable, "AUDIT_LOG_IN_USE", "audit_log");
}

// Catches: a budget returned by putting back an old copy of the ledger, or by starting a new one.
TEST_F(AuditLogTest, ARestoredLedgerIsRefused) {
  { const auto ledger = OpenLedger(Options()).value(); }
  std::filesystem::copy_file(ledger_path, folder / "backup");
  MakeHistory();
  { EXPECT_TRUE(OpenLedger(Options()).ok()) << "the ledger it belongs to"; }
  std::filesystem::rename(ledger_path, folder / "latest");
  std::filesystem::copy_file(folder / "backup", ledger_path);
  const absl::Status restored = OpenLedger(Options()).status();
  ExpectRefused(restored, absl::StatusCode::kDataLoss, "LEDGER_WENT_BACK", "ledger");
  EXPECT_TRUE(absl::StrContains(restored.message(), "alice")) << restored;
  std::filesystem::remove(ledger_path);
  ExpectRefused(OpenLedger(Options()).status(), absl::StatusCode::kDataLoss, "LEDGER_WENT_BACK", "ledger");
  std::filesystem::rename(folder / "latest", ledger_path);
  EXPECT_TRUE(OpenLedger(Options()).ok());
}

// What cannot be audited is not answered; what was charged for it stays spent; what was half written goes away.
TEST_F(AuditLogTest, AnErrorOfTheLogRefuses) {
  const auto ledger = OpenLedgerWithLargeLog();
  std::optional<FullDisk> full(std::in_place, std::filesystem::file_size(path) + 10);
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "id", 0, 7)), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
  EXPECT_FALSE(ledger->healthy());
  absl::SleepFor(absl::Milliseconds(300));  // several attempts
  EXPECT_FALSE(ledger->healthy()) << "what was committed is not in the log yet";
  ExpectRefused(ChargeNow(*ledger, Piece("alice", "id", 0, 7)), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
  while (VerifyAuditLog(path)->torn_bytes != 10) absl::SleepFor(absl::Milliseconds(1));  // between two attempts
  full.reset();
  while (!ledger->healthy()) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(ledger->FindAccount("alice")->spent, 7) << "charged, unanswered";
  EXPECT_EQ(VerifyAuditLog(path)->records, 3) << "note, serve, and the charge that the log did not take at first";
  EXPECT_EQ(VerifyAuditLog(path)->spent.at("alice"), 7);
  EXPECT_TRUE(ChargeNow(*ledger, Piece("alice", "id", 0, 7)).ok());
  EXPECT_TRUE(ChargeNow(*ledger, Piece("alice", "", 0, 1)).ok());
  EXPECT_EQ(VerifyAuditLog(path)->spent.at("alice"), 8);
  EXPECT_EQ(VerifyAuditLog(path)->torn_bytes, 0);
}

// Catches: what was committed shortly before the end, lost from the log although it works again.
TEST_F(AuditLogTest, TheEndIsALastChance) {
  auto ledger = OpenLedgerWithLargeLog();
  {
    const FullDisk full(std::filesystem::file_size(path) + 10);
    EXPECT_FALSE(ChargeNow(*ledger, Piece("alice", "id", 0, 7)).ok());
  }
  ledger.reset();
  EXPECT_EQ(VerifyAuditLog(path)->spent.at("alice"), 7);
}

// Catches: a disk that fails taken for the end of the log, which the next record would then be written over.
TEST_F(AuditLogTest, AnErrorOfTheDiskIsNotItsEnd) {
  ExpectRefused(VerifyAuditLog("/proc/self/mem").status(), absl::StatusCode::kUnavailable, "AUDIT_LOG_UNAVAILABLE",
                "audit_log");
}

// A record with its hash right that no server writes.
TEST_F(AuditLogTest, AnEventThatIsNoWordIsIgnored) {
  const std::string body =
      R"({"number":1,"event":7,"principal":"alice","spent":9,"previous":")" + std::string(64, '0') + "\"}";
  Write(body.substr(0, body.size() - 1) + ",\"hash\":\"" + Sha256Hex(body) + "\"}\n");
  const auto summary = VerifyAuditLog(path);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->records, 1);
  EXPECT_TRUE(summary->spent.empty());
}

TEST_F(AuditLogTest, IsAFile) {
  ExpectRefused(AuditLog::Open("/dev/full").status(), absl::StatusCode::kUnavailable, "AUDIT_LOG_UNAVAILABLE",
                "audit_log");
}

}  // namespace
}  // namespace gradoracle
