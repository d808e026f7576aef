#include "server/config/config_file.h"

#include <string>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(ConfigFile, ReadsTypesAndLines) {
  const auto values = ParseConfigFile(
      "# a comment\n"
      "data = \"house.csv\"\n"
      "standardise = false\n"
      "\n"
      "max_count = 1_000\n"
      "max_weights_norm = 5\n"
      "extra_noise_variances = [1, 2.5]\n"
      "shutdown_delay = \"250ms\"\n"
      "shutdown_timeout = 2\n",
      "server.toml");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(values->size(), 7U);
  EXPECT_EQ(values->at("max-count").line, 5);
  EXPECT_EQ(std::get<int64_t>(values->at("max-count").value), 1000);
  EXPECT_FALSE(std::get<bool>(values->at("standardise").value));
  EXPECT_EQ(std::get<std::vector<double>>(values->at("extra-noise-variances").value), (std::vector<double>{1, 2.5}));
}

// Would catch: errors without the line, keys guessed silently, types converted from texts, nested tables passed over.
TEST(ConfigFile, ErrorsNameFileLineKeyAndWhatIsAllowed) {
  struct Case {
    std::string text;
    std::string place;
    std::string reason;
    std::string says;
  };
  for (const Case& c : {
           Case{"data = \"x\"\nmax_cuont = 5\n", "f.toml:2: ", "CONFIG_UNKNOWN_KEY", "'max_count'"},
           Case{"max-count = 5\n", "f.toml:1: ", "CONFIG_UNKNOWN_KEY", "'max-count'"},
           Case{"config = \"other.toml\"\n", "f.toml:1: ", "CONFIG_UNKNOWN_KEY", "'config'"},
           Case{"\n\n[server]\ndata = \"x\"\n", "f.toml:3: ", "CONFIG_UNKNOWN_KEY", "'server'"},
           Case{"\nmax_count = \"5\"\n", "f.toml:2: ", "CONFIG_VALUE", "max_count: must be an integer"},
           Case{"max_count = 5.0\n", "f.toml:1: ", "CONFIG_VALUE", "must be an integer"},
           Case{"max_count = 0\n", "f.toml:1: ", "CONFIG_VALUE", "from 1 to"},
           Case{"max_count = 2024-01-01\n", "f.toml:1: ", "CONFIG_VALUE", "max_count"},
           Case{"max_weights_norm = nan\n", "f.toml:1: ", "CONFIG_VALUE", "a finite number"},
           Case{"standardise = \"false\"\n", "f.toml:1: ", "CONFIG_VALUE", "true or false"},
           Case{"standardise = 0\n", "f.toml:1: ", "CONFIG_VALUE", "true or false"},
           Case{"data = 5\n", "f.toml:1: ", "CONFIG_VALUE", "a text"},
           Case{"data = [1]\n", "f.toml:1: ", "CONFIG_VALUE", "a text"},
           Case{"extra_noise_variances = [1, \"2\"]\n", "f.toml:1: ", "CONFIG_VALUE", "extra_noise_variances"},
           Case{"data = \"a\"\ndata = \"b\"\n", "f.toml:2: ", "CONFIG_SYNTAX", "not valid TOML"},
           Case{"data = \"a\"\nmax_count 5\n", "f.toml:2: ", "CONFIG_SYNTAX", "not valid TOML"},
           // Two mistakes: the first line wins, though its key sorts last.
           Case{"\nzz = 1\naa = 1\n", "f.toml:2: ", "CONFIG_UNKNOWN_KEY", "'zz'"},
       }) {
    SCOPED_TRACE(c.text);
    const auto values = ParseConfigFile(c.text, "f.toml");
    ASSERT_FALSE(values.ok());
    EXPECT_EQ(values.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(values.status()), c.reason);
    EXPECT_THAT(std::string(values.status().message()), AllOf(StartsWith(c.place), HasSubstr(c.says)));
  }
}

TEST(ConfigFile, MissingFileIsAnErrorNamingIt) {
  const auto values = ReadConfigFile("no/such/file.toml");
  EXPECT_EQ(values.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(values.status().message()), HasSubstr("no/such/file.toml"));
  // A folder opens, but cannot be read.
  EXPECT_EQ(ReadConfigFile(".").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace gradoracle
