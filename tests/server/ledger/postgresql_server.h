#ifndef GRADORACLE_TESTS_SERVER_LEDGER_POSTGRESQL_SERVER_H_
#define GRADORACLE_TESTS_SERVER_LEDGER_POSTGRESQL_SERVER_H_

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/server/ledger/ledger_tests.h"

namespace gradoracle {

// A PostgreSQL server of this test program's own, on a socket in a temporary folder, without TCP. It refuses to run as
// root: then it runs as the user postgres, whom Debian's package makes.
class PostgresqlServer {
 public:
  // Started when first asked for; stopped with the program.
  static PostgresqlServer& Get() {
    static PostgresqlServer server;
    return server;
  }
  // The URL of a new, empty database.
  std::string NewDatabase() {
    const std::string name = absl::StrCat("test", ++databases_);
    Run(absl::StrCat("psql -q -h ", folder_, " -U owner -d postgres -c 'CREATE DATABASE ", name, "'"));
    return Url(name);
  }
  std::string Url(const std::string& database) const {
    return absl::StrCat("postgresql://owner@/", database, "?host=", folder_);
  }
  void Sql(const std::string& url, const std::string& sql) const {
    Run(absl::StrCat("psql -q -v ON_ERROR_STOP=1 '", url, "' -c \"", sql, "\""));
  }

 private:
  PostgresqlServer() {
    if (geteuid() == 0) Shell(absl::StrCat("chown postgres ", folder_));
    Run(absl::StrCat("initdb -D ", folder_, "/data -U owner -A trust -E UTF8 --locale=C >", folder_, "/initdb.log"));
    Run(absl::StrCat("pg_ctl -D ", folder_, "/data -w -t 60 -l ", folder_, "/log -o \"-c listen_addresses='' -k ",
                     folder_, "\" start >/dev/null"));
  }
  ~PostgresqlServer() { Run(absl::StrCat("pg_ctl -D ", folder_, "/data -m immediate stop >/dev/null")); }

  static void Shell(const std::string& command) {
    EXPECT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT(concurrency-mt-unsafe)
  }
  static void Run(const std::string& command) {
    const char* user = geteuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --clear-groups " : "";
    Shell(absl::StrCat("cd / && ", user, "/usr/lib/postgresql/15/bin/", command));
  }

  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_ / ".";
  int databases_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_LEDGER_POSTGRESQL_SERVER_H_
