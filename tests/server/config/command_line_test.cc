#include "server/config/command_line.h"

#include <string>
#include <vector>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/settings.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

absl::StatusOr<CommandLine> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "gradoracle-server");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(CommandLine, ServeIsTheDefaultVerb) {
  EXPECT_EQ(Parse({})->verb, Verb::kServe);
  EXPECT_EQ(Parse({"--data", "f.csv"})->verb, Verb::kServe);
  EXPECT_EQ(Parse({"serve", "--data", "f.csv"})->verb, Verb::kServe);
  EXPECT_EQ(Parse({"inspect"})->verb, Verb::kInspect);
  EXPECT_EQ(Parse({"healthcheck"})->verb, Verb::kHealthcheck);
  EXPECT_EQ(Parse({"check-config"})->verb, Verb::kCheckConfig);
}

// Would catch flags lost on one side of the verb, or a switch whose negation is not seen.
TEST(CommandLine, TakesSettingsBeforeAndAfterTheVerb) {
  const auto line = Parse({"--data", "f.csv", "--target=y", "inspect", "--no-standardise", "--reflection", "--config",
                           "c.toml", "--noise-variance", "-1", "--json", "--compare", "h.npy"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->flags,
              UnorderedElementsAre(Pair("data", "f.csv"), Pair("target", "y"), Pair("standardise", "false"),
                                   Pair("reflection", "true"), Pair("config", "c.toml"), Pair("noise-variance", "-1")));
  EXPECT_TRUE(line->json);
  EXPECT_EQ(line->compare, "h.npy");
}

TEST(CommandLine, TheLastOfARepeatedFlagWins) {
  EXPECT_EQ(Parse({"--data", "a", "--data", "b"})->flags.at("data"), "b");
  EXPECT_EQ(Parse({"--no-standardise", "--standardise"})->flags.at("standardise"), "true");
  EXPECT_EQ(Parse({"--data", "a", "serve", "--data", "b"})->flags.at("data"), "b");
}

TEST(CommandLine, EverySettingIsAFlagAndInTheHelp) {
  const std::string help = Parse({"--help"})->text_to_print;
  for (const Setting& setting : Settings()) {
    const std::string name(setting.name);
    EXPECT_THAT(help, HasSubstr(IsSwitch(setting) ? "--[no-]" + name : "--" + name));
    const std::string flag = "--" + name;
    const auto line = IsSwitch(setting) ? Parse({flag.c_str()}) : Parse({flag.c_str(), "x"});
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->flags.at(name), IsSwitch(setting) ? "true" : "x");
  }
}

TEST(CommandLine, HelpOfEveryVerbHasAnExample) {
  EXPECT_THAT(Parse({"--help"})->text_to_print, HasSubstr("gradoracle-server --data house.csv"));
  EXPECT_THAT(Parse({"serve", "--help"})->text_to_print, HasSubstr("gradoracle-server serve"));
  EXPECT_THAT(Parse({"inspect", "--help"})->text_to_print, HasSubstr("gradoracle-server inspect"));
  EXPECT_THAT(Parse({"healthcheck", "--help"})->text_to_print, HasSubstr("gradoracle-server healthcheck"));
  EXPECT_THAT(Parse({"check-config", "--help"})->text_to_print, HasSubstr("gradoracle-server check-config"));
  EXPECT_THAT(Parse({"--version"})->text_to_print, HasSubstr("gRPC 1."));
}

TEST(CommandLine, RefusesWhatItDoesNotKnow) {
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{"srve"},
                                             {"--dta", "x"},
                                             {"--data"},
                                             {"serve", "inspect"},
                                             {"serve", "--compare", "h.npy"},
                                             {"-x"},
                                             {"--data", "x", "y"}}) {
    const auto line = Parse(arguments);
    ASSERT_FALSE(line.ok()) << arguments[0];
    EXPECT_EQ(line.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(line.status()), "USAGE");
  }
  EXPECT_EQ(ErrorReason(Parse({"token"}).status()), "USAGE");
  EXPECT_EQ(ErrorReason(Parse({"token", "list", "--limit", "3"}).status()), "USAGE");
}

}  // namespace
}  // namespace gradoracle
