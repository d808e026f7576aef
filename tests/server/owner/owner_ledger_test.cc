// The owner's ledger, directly and through a socket: one behaviour.

#include "server/owner/owner_ledger.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "gtest/gtest.h"
#include "server/identity/token_table.h"
#include "server/owner/admin_client.h"
#include "server/owner/admin_server.h"
#include "server/owner/admin_socket.h"
#include "server/owner/direct_owner_ledger.h"
#include "tests/server/identity/fake_ledger.h"

namespace gradoracle {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

StoredToken Token(const std::string& id, const std::string& principal) {
  StoredToken token;
  token.id = id;
  token.principal = principal;
  token.sha256 = std::string(31, 'x') + id.substr(0, 1);
  token.created = kNow;
  return token;
}

class OwnerLedgerTest : public testing::TestWithParam<bool> {
 protected:
  OwnerLedgerTest() {
    std::string pattern = absl::StrCat(testing::TempDir(), "/owner #%.XXXXXX");  // what a URI would read otherwise
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    if (!GetParam()) return;
    socket_path_ = *AdminSocketPath(folder_ + "/l");
    auto server = AdminServer::Start(socket_path_, &direct_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    remote_ = ConnectOwnerLedger(socket_path_);
  }
  ~OwnerLedgerTest() override {
    remote_.reset();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  OwnerLedger& owner() { return GetParam() ? *remote_ : static_cast<OwnerLedger&>(direct_); }
  void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& reason) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(ErrorReason(status).value_or(""), reason) << status;
  }

  std::string folder_;
  std::string socket_path_;
  FakeLedger ledger_;
  int changes_ = 0;
  absl::Status on_change_;
  DirectOwnerLedger direct_{&ledger_, [this] {
                              ++changes_;
                              return on_change_;
                            }};
  std::unique_ptr<AdminServer> server_;
  std::unique_ptr<OwnerLedger> remote_;
};

TEST_P(OwnerLedgerTest, StoresTokensAndLimits) {
  StoredToken token = Token("a1", "alice");
  token.expires = kNow + absl::Hours(5);
  ASSERT_TRUE(owner().AddToken(token, Limit{100}).ok());
  ASSERT_TRUE(owner().AddToken(Token("b1", "bob"), Limit{}).ok());
  EXPECT_EQ(changes_, 2);
  ASSERT_EQ(ledger_.tokens.size(), 2u);
  EXPECT_EQ(ledger_.tokens[0].sha256, token.sha256);
  EXPECT_EQ(ledger_.tokens[0].expires, token.expires);
  EXPECT_EQ(ledger_.tokens[0].created, kNow);
  EXPECT_EQ(ledger_.tokens[1].expires, absl::InfiniteFuture());
  EXPECT_EQ(ledger_.accounts["alice"].limit, 100);
  EXPECT_FALSE(ledger_.accounts["bob"].limit.has_value());
  ledger_.accounts["alice"].spent = 7;
  ASSERT_TRUE(owner().AddToken(Token("c1", "alice"), std::nullopt).ok());  // the limit stays
  EXPECT_EQ(ledger_.accounts["alice"].limit, 100);
  ASSERT_TRUE(owner().SetLimit("alice", Limit{5}).ok());
  ASSERT_TRUE(owner().SetDatasetLimit(Limit{1000}).ok());
  EXPECT_EQ(changes_, 5);

  const auto holdings = owner().List();
  ASSERT_TRUE(holdings.ok()) << holdings.status();
  ASSERT_EQ(holdings->tokens.size(), 3u);
  EXPECT_EQ(holdings->tokens[0].id, "a1");
  EXPECT_EQ(holdings->tokens[0].expires, token.expires);
  for (const StoredToken& listed : holdings->tokens) EXPECT_EQ(listed.sha256, "");
  ASSERT_EQ(holdings->accounts.size(), 2u);
  EXPECT_EQ(holdings->accounts[0].limit, 5);
  EXPECT_EQ(holdings->accounts[0].spent, 7);
  EXPECT_EQ(holdings->dataset.limit, 1000);
}

TEST_P(OwnerLedgerTest, Revokes) {
  ASSERT_TRUE(owner().AddToken(Token("a1", "alice"), Limit{100}).ok());
  ASSERT_TRUE(owner().AddToken(Token("b1", "bob"), Limit{100}).ok());
  ASSERT_TRUE(owner().AddToken(Token("c1", "bob"), std::nullopt).ok());
  ASSERT_TRUE(owner().RevokeToken("a1").ok());
  EXPECT_TRUE(ledger_.tokens[0].revoked);
  EXPECT_FALSE(ledger_.accounts["alice"].revoked);
  ASSERT_TRUE(owner().RevokePrincipal("bob").ok());
  EXPECT_TRUE(ledger_.accounts["bob"].revoked);
  EXPECT_TRUE(ledger_.tokens[1].revoked && ledger_.tokens[2].revoked);
  EXPECT_TRUE(owner().List()->accounts[1].revoked);
  ExpectRefused(owner().RevokeToken("none"), absl::StatusCode::kNotFound, "TOKEN_NOT_FOUND");
  ExpectRefused(owner().AddToken(Token("d1", "bob"), std::nullopt), absl::StatusCode::kPermissionDenied,
                "ACCOUNT_REVOKED");
  EXPECT_EQ(ledger_.tokens.size(), 3u);
}

TEST_P(OwnerLedgerTest, RefusesWhatCannotBe) {
  ExpectRefused(owner().AddToken(Token("a1", "al ice"), Limit{1}), absl::StatusCode::kInvalidArgument,
                "PRINCIPAL_INVALID");
  ExpectRefused(owner().SetLimit("anonymous", Limit{1}), absl::StatusCode::kInvalidArgument, "PRINCIPAL_INVALID");
  StoredToken token = Token("a1", "alice");
  token.sha256.pop_back();
  ExpectRefused(owner().AddToken(token, Limit{1}), absl::StatusCode::kInvalidArgument, "TOKEN_HASH");
  ExpectRefused(owner().AddToken(Token("a1", "alice"), std::nullopt), absl::StatusCode::kNotFound, "NO_ACCOUNT");
  EXPECT_TRUE(ledger_.tokens.empty());
  EXPECT_EQ(changes_, 0);
}

// A change that is stored but not in force yet must not be reported as done.
TEST_P(OwnerLedgerTest, TellsWhenAChangeIsNotInForce) {
  on_change_ = MakeError(absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE", "", "broken");
  ExpectRefused(owner().SetLimit("alice", Limit{1}), absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE");
}

INSTANTIATE_TEST_SUITE_P(All, OwnerLedgerTest, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "ThroughASocket" : "Directly"; });

// A socket left behind by a killed process is taken over; afterwards nothing is left.
TEST(AdminServerTest, ReplacesAStaleSocketAndCleansUp) {
  std::string folder = absl::StrCat(testing::TempDir(), "/admin.XXXXXX");
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string socket_path = *AdminSocketPath(folder + "/l");
  FakeLedger ledger;
  DirectOwnerLedger direct(&ledger, [] { return absl::OkStatus(); });
  {
    auto left_behind = AdminServer::Start(socket_path, &direct);
    ASSERT_TRUE(left_behind.ok()) << left_behind.status();
    std::filesystem::rename(socket_path, socket_path + ".kept");
  }
  std::filesystem::create_directories(folder + "/l.admin");
  if (std::filesystem::exists(socket_path + ".kept")) std::filesystem::rename(socket_path + ".kept", socket_path);
  EXPECT_FALSE(*IsListening(socket_path));
  {
    auto server = AdminServer::Start(socket_path, &direct);
    ASSERT_TRUE(server.ok()) << server.status();
    EXPECT_TRUE(*IsListening(socket_path));
    EXPECT_TRUE(ConnectOwnerLedger(socket_path)->List().ok());
  }
  EXPECT_FALSE(std::filesystem::exists(folder + "/l.admin"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace gradoracle
