#ifndef GRADORACLE_TESTS_SERVER_LEDGER_TEST_STORES_H_
#define GRADORACLE_TESTS_SERVER_LEDGER_TEST_STORES_H_

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "server/ledger/memory_store.h"
#include "server/ledger/postgresql_store.h"
#include "server/ledger/sqlite_store.h"
#include "tests/server/ledger/ledger_tests.h"
#include "tests/server/ledger/postgresql_server.h"

namespace gradoracle {

// Where a test keeps its ledger: makes stores of it, one at a time.
struct MemoryPlace {
  static constexpr char kName[] = "Memory";
  std::unique_ptr<LedgerStore> Make() { return std::make_unique<MemoryStore>(); }
};

struct SqlitePlace {
  static constexpr char kName[] = "Sqlite";
  std::unique_ptr<LedgerStore> Make() { return std::make_unique<SqliteStore>(folder / "ledger.db"); }
  TemporaryFolder folder;
};

struct PostgresqlPlace {
  static constexpr char kName[] = "Postgresql";
  std::unique_ptr<LedgerStore> Make() { return std::make_unique<PostgresqlStore>(url); }
  const std::string url = PostgresqlServer::Get().NewDatabase();
};

using StorePlaces = testing::Types<MemoryPlace, SqlitePlace, PostgresqlPlace>;

struct StorePlaceNames {
  template <typename Place>
  static std::string GetName(int) {
    return Place::kName;
  }
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_LEDGER_TEST_STORES_H_
