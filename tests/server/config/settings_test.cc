#include "server/config/settings.h"

#include <set>
#include <string>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::Status Store(absl::string_view name, const std::string& text, ServerConfig& config) {
  const Setting& setting = *FindSetting(name);
  const auto value = ParseSettingText(setting, text);
  return value.ok() ? StoreSetting(setting, *value, config) : value.status();
}

// The contract of the programs (design 5): would catch a flag lost or renamed.
TEST(Settings, HoldEveryFlagOfTheContractOnce) {
  std::multiset<std::string> names;
  for (const Setting& setting : Settings()) names.insert(std::string(setting.name));
  for (const char* name : {"data",
                           "target",
                           "standardise",
                           "scaling",
                           "listen",
                           "port-file",
                           "noise-rule",
                           "noise-scale",
                           "noise-variance",
                           "sampling",
                           "extra-noise-variances",
                           "curvature-probe",
                           "min-batch-size",
                           "max-batch-size",
                           "max-count",
                           "max-weights-norm",
                           "auth",
                           "ledger",
                           "default-limit",
                           "dataset-limit",
                           "audit-log",
                           "tls-cert",
                           "tls-key",
                           "client-ca",
                           "admin-listen",
                           "insecure",
                           "log-level",
                           "log-format",
                           "shutdown-delay",
                           "shutdown-timeout",
                           "publish-feature-names"}) {
    EXPECT_EQ(names.count(name), 1U) << name;
  }
  EXPECT_EQ(EnvironmentName(*FindSetting("max-count")), "GRADORACLE_MAX_COUNT");
  EXPECT_EQ(KeyName(*FindSetting("max-count")), "max_count");
}

// Would catch a default that differs from the contract's.
TEST(Settings, DefaultsAreTheContracts) {
  const ServerConfig config;
  EXPECT_EQ(config.listen, "127.0.0.1:50051");
  EXPECT_TRUE(config.standardise);
  EXPECT_FALSE(config.insecure);
  EXPECT_EQ(config.noise_rule, "calibrated");
  EXPECT_EQ(config.sampling, "iid");
  EXPECT_EQ(config.min_batch_size, 32);
  EXPECT_FALSE(config.max_batch_size.has_value());
  EXPECT_EQ(config.max_count, 1'000'000);
  EXPECT_EQ(config.max_weights_norm, 100);
  EXPECT_FALSE(config.curvature_probe);
  EXPECT_FALSE(config.publish_feature_names);
  EXPECT_EQ(config.auth, "none");
  EXPECT_EQ(config.ledger, "memory");
}

TEST(Settings, StoreEveryType) {
  ServerConfig config;
  ASSERT_TRUE(Store("data", "a b.csv", config).ok());
  ASSERT_TRUE(Store("standardise", "No", config).ok());
  ASSERT_TRUE(Store("max-count", "7", config).ok());
  ASSERT_TRUE(Store("max-batch-size", "9007199254740992", config).ok());
  ASSERT_TRUE(Store("max-weights-norm", "2.5e1", config).ok());
  ASSERT_TRUE(Store("noise-variance", "0", config).ok());
  ASSERT_TRUE(Store("extra-noise-variances", "1, 2.5,3e2", config).ok());
  ASSERT_TRUE(Store("shutdown-delay", "250ms", config).ok());
  ASSERT_TRUE(Store("shutdown-timeout", "1.5", config).ok());
  EXPECT_EQ(config.data, "a b.csv");
  EXPECT_FALSE(config.standardise);
  EXPECT_EQ(config.max_count, 7);
  EXPECT_EQ(config.max_batch_size, int64_t{1} << 53);
  EXPECT_EQ(config.max_weights_norm, 25);
  EXPECT_EQ(config.noise_variance, 0);
  EXPECT_THAT(config.extra_noise_variances, ElementsAre(1, 2.5, 300));
  EXPECT_EQ(config.shutdown_delay, absl::Milliseconds(250));
  EXPECT_EQ(config.shutdown_timeout, absl::Milliseconds(1500));
}

// Would catch saturation of integers (CLI11's own parser gives INT64_MAX), trailing rubbish, ends of ranges off by one,
// NaN slipping through comparisons.
TEST(Settings, RefuseWhatIsNotAllowedAndSayWhat) {
  struct Case {
    const char* name;
    const char* text;
    const char* allowed;
  };
  for (const Case& c : {Case{"max-count", "0", "from 1 to"},
                        Case{"max-count", "-1", "from 1 to"},
                        Case{"max-count", "9007199254740993", "from 1 to"},
                        Case{"max-count", "99999999999999999999", "an integer"},
                        Case{"max-count", "1e3", "an integer"},
                        Case{"max-count", " 5", "an integer"},
                        Case{"max-count", "5x", "an integer"},
                        Case{"max-count", "0x10", "an integer"},
                        Case{"min-batch-size", "0", "from 1 to"},
                        Case{"max-weights-norm", "0", "above 0"},
                        Case{"max-weights-norm", "nan", "a finite number"},
                        Case{"max-weights-norm", "inf", "a finite number"},
                        Case{"max-weights-norm", "1e999", "a finite number"},
                        Case{"noise-variance", "-1e-300", "at least 0"},
                        Case{"noise-variance", "nan", "at least 0"},
                        Case{"noise-scale", "0", "above 0"},
                        Case{"extra-noise-variances", "1,,2", "a list of numbers"},
                        Case{"extra-noise-variances", "1,0", "above 0"},
                        Case{"extra-noise-variances", "1;2", "a list of numbers"},
                        Case{"noise-rule", "Calibrated", "calibrated, scaled, fixed, none"},
                        Case{"sampling", "bernoulli", "iid, without_replacement, shuffled_epochs, poisson"},
                        Case{"clip-norm", "0", "above 0"},
                        Case{"curvature-floor", "inf", "a finite number"},
                        Case{"mask-budget", "0", "from 1 to"},
                        Case{"log-level", "loud", "debug, info, warning, error"},
                        Case{"log-format", "xml", "text, json"},
                        Case{"standardise", "maybe", "true or false"},
                        Case{"threads", "0", "from 1 to 1024"},
                        Case{"threads", "1025", "from 1 to 1024"},
                        Case{"shutdown-delay", "-1s", "seconds from 0"},
                        Case{"shutdown-delay", "5 s", "a time such as"},
                        Case{"shutdown-delay", "inf", "a time such as"},
                        Case{"shutdown-timeout", "86401", "to 86400"}}) {
    SCOPED_TRACE(std::string(c.name) + " " + c.text);
    ServerConfig config;
    const absl::Status status = Store(c.name, c.text, config);
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorField(status), KeyName(*FindSetting(c.name)));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.allowed));
  }
}

// Would catch a value changed on its way through check-config's output (which is a configuration file again).
TEST(Settings, FormatAsTheConfigurationFileReadsThem) {
  ServerConfig config;
  config.target = "a \"b\"\\\n";
  config.extra_noise_variances = {1, 0.1};
  config.shutdown_delay = absl::Milliseconds(250);
  EXPECT_EQ(FormatSetting(*FindSetting("target"), config), "\"a \\\"b\\\"\\\\\\n\"");
  EXPECT_EQ(FormatSetting(*FindSetting("extra-noise-variances"), config), "[1.0,0.1]");
  EXPECT_EQ(FormatSetting(*FindSetting("shutdown-delay"), config), "\"250ms\"");
  EXPECT_EQ(FormatSetting(*FindSetting("standardise"), config), "true");
  EXPECT_EQ(FormatSetting(*FindSetting("max-batch-size"), config), std::nullopt);
}

}  // namespace
}  // namespace gradoracle
