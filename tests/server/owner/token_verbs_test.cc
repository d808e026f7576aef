#include "server/owner/token_verbs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/identity/token_table.h"
#include "server/ledger/open_ledger.h"

namespace gradoracle {
namespace {

using testing::HasSubstr;
using testing::Not;
using Verb = TokenCommand::Verb;

const absl::Time kNow = absl::FromUnixSeconds(1'900'000'000);

// Verbs on a SQLite file that nobody serves from.
struct TokenVerbsTest : testing::Test {
  TokenVerbsTest() {
    std::string pattern = absl::StrCat(testing::TempDir(), "/tokens.XXXXXX");
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder = pattern;
    location = absl::StrCat("sqlite:", folder, "/ledger.db");
  }
  ~TokenVerbsTest() override { std::filesystem::remove_all(folder); }
  absl::StatusOr<TokenResult> Run(const TokenCommand& command) {
    return RunTokenCommand(command, {.location = location}, kNow);
  }
  absl::StatusOr<TokenResult> Create(const std::string& principal, const std::string& limit, const std::string& out,
                                     const std::string& expires = "") {
    TokenCommand command;
    command.verb = Verb::kCreate;
    command.principal = principal;
    command.limit = limit;
    command.out = folder + "/" + out;
    command.expires = expires;
    return Run(command);
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder + "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string folder;
  std::string location;
};

TEST_F(TokenVerbsTest, MakesListsAndRevokes) {
  const auto made = Create("alice", "100", "alice.token", "30d");
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string line = Read("alice.token");
  ASSERT_THAT(line, testing::MatchesRegex("gradoracle_[0-9a-f]{64}\n"));
  const std::string token = line.substr(0, line.size() - 1);
  struct stat status = {};
  ASSERT_EQ(stat((folder + "/alice.token").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_THAT(made->text + made->json.dump(), Not(HasSubstr(token.substr(11))));
  EXPECT_EQ(made->json["limit"], 100);
  EXPECT_EQ(made->json["expires"], "2030-04-16T17:46:40Z");
  ASSERT_TRUE(Create("alice", "", "second.token").ok());
  ASSERT_TRUE(Create("bob", "unlimited", "bob.token").ok());

  {  // what a server would make of it
    const auto ledger = OpenLedger({.location = location});
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    TokenTable table(ledger->get());
    ASSERT_TRUE(table.Reload().ok());
    EXPECT_EQ(table.Find(token).value_or("nobody"), "alice");
  }
  TokenCommand list;
  auto listed = Run(list);
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(listed->json["tokens"].size(), 3u);
  EXPECT_EQ(listed->json["accounts"][0]["remaining"], 100);
  EXPECT_TRUE(listed->json["accounts"][1]["limit"].is_null());
  EXPECT_EQ(listed->json["unit"], "gradients");
  EXPECT_THAT(listed->text, HasSubstr("alice"));

  TokenCommand revoke;
  revoke.verb = Verb::kRevoke;
  revoke.token_id = made->json["id"];
  ASSERT_TRUE(Run(revoke).ok());
  EXPECT_EQ(ErrorReason(Run({.verb = Verb::kRevoke, .token_id = "nonesuch"}).status()), "TOKEN_NOT_FOUND");
  ASSERT_TRUE(Run({.verb = Verb::kRevoke, .principal = "bob"}).ok());
  ASSERT_TRUE(Run({.verb = Verb::kGrant, .principal = "alice", .limit = "200"}).ok());
  ASSERT_TRUE(Run({.verb = Verb::kCap, .limit = "1000"}).ok());
  listed = Run(list);
  ASSERT_TRUE(listed.ok());
  std::string states;
  for (const auto& entry : listed->json["tokens"]) {
    absl::StrAppend(&states, entry["principal"].get<std::string>(), " ", entry["state"].get<std::string>(), ";");
  }
  EXPECT_THAT(states, HasSubstr("alice revoked;"));
  EXPECT_THAT(states, HasSubstr("alice in force;"));
  EXPECT_THAT(states, HasSubstr("bob revoked;"));
  EXPECT_EQ(listed->json["accounts"][0]["limit"], 200);
  EXPECT_EQ(listed->json["accounts"][1]["revoked"], true);
  EXPECT_EQ(listed->json["dataset"]["limit"], 1000);
}

// No file is left for a token that the ledger does not know, and none is overwritten.
TEST_F(TokenVerbsTest, KeepsFilesAndLedgerTogether) {
  EXPECT_EQ(ErrorReason(Create("alice", "", "a.token").status()), "NO_ACCOUNT");
  EXPECT_EQ(ErrorField(Create("alice", "", "a.token").status()), "limit");
  EXPECT_FALSE(std::filesystem::exists(folder + "/a.token"));
  std::ofstream(folder + "/taken") << "mine";
  EXPECT_EQ(ErrorReason(Create("alice", "5", "taken").status()), "TOKEN_FILE_EXISTS");
  EXPECT_EQ(Read("taken"), "mine");
  EXPECT_EQ(ErrorReason(Create("alice", "5", "none/a.token").status()), "TOKEN_FILE_UNWRITABLE");
  EXPECT_EQ(Run({})->json["tokens"].size(), 0u);
}

TEST_F(TokenVerbsTest, RefusesWhatItCannotDo) {
  EXPECT_EQ(ErrorReason(Run({}).status()), "LEDGER_NOT_FOUND");
  EXPECT_EQ(ErrorReason(Run({.verb = Verb::kRevoke, .token_id = "x"}).status()), "LEDGER_NOT_FOUND");
  EXPECT_FALSE(std::filesystem::exists(folder + "/ledger.db")) << "a typing error must not make a ledger";
  EXPECT_EQ(ErrorReason(RunTokenCommand({}, {.location = "memory"}, kNow).status()), "LEDGER_NOT_KEPT");
  for (const TokenCommand& command :
       std::vector<TokenCommand>{{.verb = Verb::kCreate, .out = "f"},
                                 {.verb = Verb::kCreate, .principal = "p"},
                                 {.verb = Verb::kRevoke},
                                 {.verb = Verb::kRevoke, .principal = "p", .token_id = "t"},
                                 {.verb = Verb::kGrant, .principal = "p"},
                                 {.verb = Verb::kGrant, .limit = "5"},
                                 {.verb = Verb::kCap}}) {
    EXPECT_EQ(ErrorReason(Run(command).status()), "USAGE");
  }
  EXPECT_EQ(ErrorReason(Create("a b", "5", "f").status()), "PRINCIPAL_INVALID");
  EXPECT_EQ(ErrorReason(Create("anonymous", "5", "f").status()), "PRINCIPAL_INVALID");
}

TEST(ParseLimit, TakesWholeNumbersUpToTwoToThe53) {
  EXPECT_EQ(ParseLimit("0")->gradients, 0);
  EXPECT_EQ(ParseLimit("9007199254740992")->gradients, int64_t{1} << 53);
  EXPECT_FALSE(ParseLimit("unlimited")->gradients.has_value());
  for (const char* bad : {"", "-1", "9007199254740993", "1e6", "1.5", "18446744073709551616", "Unlimited", "0x5"}) {
    EXPECT_EQ(ErrorReason(ParseLimit(bad).status()), "LIMIT_INVALID") << bad;
  }
}

TEST(ParseLifetime, TakesDaysAndDurations) {
  EXPECT_EQ(*ParseLifetime("30d"), absl::Hours(720));
  EXPECT_EQ(*ParseLifetime("1h30m"), absl::Minutes(90));
  for (const char* bad : {"", "0d", "-1d", "4000d", "0s", "-5m", "inf", "forever", "5", "d"}) {
    EXPECT_EQ(ErrorReason(ParseLifetime(bad).status()), "EXPIRES_INVALID") << bad;
  }
}

}  // namespace
}  // namespace gradoracle
