#include "server/ledger/sqlite_store.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {
namespace {

struct SqliteStoreTest : testing::Test {
  // Runs SQL as another program would.
  void Tamper(const std::string& sql, int expected = SQLITE_OK) {
    sqlite3* connection = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, nullptr), expected)
        << sql << ": " << sqlite3_errmsg(connection);
    sqlite3_close(connection);
  }
  void SpendSome() {
    SqliteStore store(path);
    ASSERT_TRUE(store.Open().ok());
    ASSERT_TRUE(store.Begin().ok());
    ASSERT_TRUE(store.PutAccount("alice", 10, false).ok());
    ASSERT_TRUE(store.Spend("alice", 5).ok());
    ASSERT_TRUE(store.Commit().ok());
  }
  static mode_t Mode(const std::string& file) {
    struct stat found = {};
    return stat(file.c_str(), &found) == 0 ? found.st_mode & 0777 : 0;
  }

  TemporaryFolder folder;
  const std::string path = folder / "ledger.db";
};

TEST_F(SqliteStoreTest, OneProcessOwnsTheFile) {
  SqliteStore first(path);
  ASSERT_TRUE(first.Open().ok());
  SqliteStore second(path);
  const absl::Status status = second.Open();
  ExpectRefused(status, absl::StatusCode::kUnavailable, "LEDGER_IN_USE", "ledger");
  ASSERT_TRUE(first.Begin().ok());
  ASSERT_TRUE(first.PutAccount("alice", 1, false).ok());
  ASSERT_TRUE(first.Commit().ok()) << "the first is not disturbed";
  first.Close();
  EXPECT_TRUE(second.Open().ok());
}

TEST_F(SqliteStoreTest, FilesAreTheOwnersAlone) {
  SqliteStore store(path);
  ASSERT_TRUE(store.Open().ok());
  EXPECT_EQ(Mode(path), 0600U);
  EXPECT_EQ(Mode(path + "-wal"), 0600U);
  EXPECT_EQ(Mode(path + ".ballast"), 0600U);
  EXPECT_FALSE(std::filesystem::exists(path + "-shm")) << "exclusive: no shared memory";
}

// The rules hold for other programs too, as far as a schema can tell them.
TEST_F(SqliteStoreTest, TheSchemaRefusesWhatBreaksTheRules) {
  SpendSome();
  for (const char* sql : {"UPDATE account SET spent = 4 WHERE principal = 'alice'",
                          "UPDATE account SET spent = 11 WHERE principal = 'alice'", "UPDATE account SET spent = -1",
                          "DELETE FROM account WHERE principal = 'alice'", "UPDATE account SET budget = -1",
                          "UPDATE account SET spent = 5.5", "INSERT INTO account (principal, spent) VALUES ('x', -1)",
                          "INSERT OR FAIL INTO account (principal) VALUES ('')"}) {
    SCOPED_TRACE(sql);
    sqlite3* connection = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
    EXPECT_NE(sqlite3_exec(connection, sql, nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(connection);
  }
}

TEST_F(SqliteStoreTest, RefusesWhatIsNoLedgerOfThisVersion) {
  SpendSome();
  Tamper("PRAGMA user_version = 99");
  ExpectRefused(SqliteStore(path).Open(), absl::StatusCode::kFailedPrecondition, "LEDGER_VERSION", "ledger");
  Tamper("PRAGMA user_version = 1; PRAGMA application_id = 7");
  ExpectRefused(SqliteStore(path).Open(), absl::StatusCode::kFailedPrecondition, "LEDGER_FOREIGN", "ledger");
  Tamper(absl::StrCat("PRAGMA application_id = ", 0x67726164));
  EXPECT_TRUE(SqliteStore(path).Open().ok());
  const std::string text = folder / "text";
  std::ofstream(text) << std::string(5000, 'x');
  ExpectRefused(SqliteStore(text).Open(), absl::StatusCode::kFailedPrecondition, "LEDGER_FOREIGN", "ledger");
  EXPECT_EQ(std::filesystem::file_size(text), 5000U) << "a foreign file was changed";
  ExpectRefused(SqliteStore(folder / "no/such/folder").Open(), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE",
                "ledger");
  ExpectRefused(SqliteStore(folder / "").Open(), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "ledger");
}

TEST_F(SqliteStoreTest, NoticesDamage) {
  SpendSome();
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (int page = 1; page < 8; ++page) {
      file.seekp(page * 4096 + 3);
      file << std::string(100, '\x7f');
    }
  }
  const absl::Status status = SqliteStore(path).Open();
  EXPECT_EQ(ErrorReason(status), "LEDGER_CORRUPT") << status;
}

// The table of tables itself. Would catch: a statement that cannot be prepared taken for one.
TEST_F(SqliteStoreTest, NoticesADamagedSchema) {
  SpendSome();
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << std::string(3000, '\x7f');
  }
  const absl::Status status = SqliteStore(path).Open();
  EXPECT_EQ(ErrorReason(status), "LEDGER_CORRUPT") << status;
}

// The log is emptied every 256 KiB, so that it never needs much of the disk; and the file has room ahead of need.
TEST_F(SqliteStoreTest, TheLogStaysSmall) {
  SqliteStore store(path);
  ASSERT_TRUE(store.Open().ok());
  for (int i = 0; i < 400; ++i) {
    ASSERT_TRUE(store.Begin().ok());
    ASSERT_TRUE(store.PutRequest("p", absl::StrCat(i), {Digest("x"), "epoch", 1}).ok());
    ASSERT_TRUE(store.Commit().ok());
  }
  EXPECT_LE(std::filesystem::file_size(path + "-wal"), 400U * 1024);
  EXPECT_EQ(std::filesystem::file_size(path) % (128 * 1024), 0U);
}

}  // namespace
}  // namespace gradoracle
