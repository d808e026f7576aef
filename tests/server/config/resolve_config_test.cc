#include "server/config/resolve_config.h"

#include <cstdio>
#include <fstream>
#include <map>
#include <string>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/check_config.h"
#include "server/config/settings.h"

namespace gradoracle {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Environment Variables(const std::map<std::string, std::string>& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto variable = variables.find(name);
    return variable == variables.end() ? std::nullopt : std::optional<std::string>(variable->second);
  };
}

std::string WriteFile(const std::string& text) {
  const std::string path =
      testing::TempDir() + "/resolve_config_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".toml";
  std::ofstream(path) << text;
  return path;
}

// Every setting, every pair of sources: would catch a setting read from one source only, or a wrong order.
TEST(ResolveConfig, FlagBeatsEnvironmentBeatsFileBeatsDefaultForEverySetting) {
  const std::map<std::string, std::array<std::string, 3>> texts = {
      // flag, environment, file; all different, all acceptable together
      {"noise-rule", {"none", "calibrated", "none"}},
      {"sampling", {"without_replacement", "shuffled_epochs", "iid"}},
      {"log-level", {"debug", "warning", "error"}},
      {"log-format", {"json", "text", "json"}},
      {"ledger", {"sqlite:a", "sqlite:b", "sqlite:c"}},
      {"listen", {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}},
      {"admin-listen", {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}},
      {"shutdown-delay", {"1s", "2s", "3s"}},
      {"shutdown-timeout", {"1s", "2s", "3s"}},
      {"reply-grid", {"1", "2", "4"}},
      {"curvature-floor", {"0.1", "0.2", "0.3"}},
      {"privacy-delta", {"0.1", "0.2", "0.3"}},
  };
  // What must stand beside a setting in the file.
  const std::map<std::string, std::string> companions = {
      {"max-batch-size", "min_batch_size = 1\n"},
      {"clip-norm", "gradient_noise_multiplier = 1.0\nsampling = \"poisson\"\n"},
      {"gradient-noise-multiplier", "clip_norm = 1.0\nsampling = \"poisson\"\n"},
      {"mask-budget", "mask_error = 0.5\n"},
      {"mask-error", "mask_budget = 100\n"},
      {"max-participation", "sampling = \"shuffled_epochs\"\n"},
  };
  for (const Setting& setting : Settings()) {
    const std::string name(setting.name);
    SCOPED_TRACE(name);
    ServerConfig config;
    // These need others beside them; below.
    if (name == "noise-scale" || name == "noise-variance" || name == "auth" || name == "audit-log") continue;
    if (name == "tls-cert" || name == "tls-key" || name == "client-ca") continue;
    std::array<std::string, 3> text = {"1", "2", "3"};
    if (IsSwitch(setting)) text = {"true", "false", "true"};
    if (texts.count(name) != 0) text = texts.at(name);
    const bool quoted = std::holds_alternative<std::string ServerConfig::*>(setting.member) ||
                        std::holds_alternative<absl::Duration ServerConfig::*>(setting.member);
    std::string file = KeyName(setting) + " = " + (quoted ? "\"" + text[2] + "\"" : text[2]) + "\n";
    if (companions.count(name) != 0) file += companions.at(name);
    const std::string path = WriteFile(file);

    const auto expect = [&](const FlagValues& flags, const Environment& environment, const std::string& wanted,
                            const std::string& origin) {
      const auto resolved = ResolveConfig(flags, environment);
      ASSERT_TRUE(resolved.ok()) << resolved.status();
      ServerConfig reference;
      ASSERT_TRUE(StoreSetting(setting, *ParseSettingText(setting, wanted), reference).ok());
      EXPECT_EQ(FormatSetting(setting, resolved->config), FormatSetting(setting, reference));
      EXPECT_THAT(resolved->origins.at(name), StartsWith(origin));
    };
    const std::string variable = EnvironmentName(setting);
    expect({{"config", path}}, Variables({}), text[2], "file " + path + ":1");
    expect({{"config", path}}, Variables({{variable, text[1]}}), text[1], "environment " + variable);
    expect({{"config", path}, {name, text[0]}}, Variables({{variable, text[1]}}), text[0], "flag --" + name);
    expect({{"config", path}, {name, text[0]}}, Variables({}), text[0], "flag --" + name);
  }
}

TEST(ResolveConfig, ConfigurationFileIsNamedByFlagBeforeEnvironment) {
  const std::string path = WriteFile("max_count = 7\n");
  EXPECT_EQ(ResolveConfig({}, Variables({{"GRADORACLE_CONFIG", path}}))->config.max_count, 7);
  EXPECT_EQ(ResolveConfig({{"config", path}}, Variables({{"GRADORACLE_CONFIG", "no/such"}}))->config.max_count, 7);
  EXPECT_EQ(ResolveConfig({}, Variables({{"GRADORACLE_CONFIG", "no/such"}})).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ResolveConfig, EmptyVariableCountsAsUnset) {
  const auto resolved = ResolveConfig({}, Variables({{"GRADORACLE_MAX_COUNT", ""}}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->config.max_count, ServerConfig().max_count);
}

// Would catch: a message that leaves the owner searching, or a wrong value passed over because a stronger source wins.
TEST(ResolveConfig, ErrorsNameTheirSource) {
  const std::string path = WriteFile("max_count = 0\n");
  const auto message = [](const absl::StatusOr<ResolvedConfig>& resolved) {
    return std::string(resolved.status().message());
  };
  EXPECT_THAT(message(ResolveConfig({{"max-count", "x"}}, Variables({}))),
              AllOf(StartsWith("--max-count"), HasSubstr("'x'")));
  EXPECT_THAT(message(ResolveConfig({}, Variables({{"GRADORACLE_MAX_COUNT", "x"}}))),
              AllOf(StartsWith("GRADORACLE_MAX_COUNT"), HasSubstr("'x'")));
  EXPECT_THAT(message(ResolveConfig({{"config", path}}, Variables({}))), StartsWith(path + ":1: max_count"));
  EXPECT_THAT(message(ResolveConfig({{"config", path}, {"max-count", "5"}}, Variables({}))), StartsWith(path + ":1:"));
  EXPECT_THAT(message(ResolveConfig({{"max-count", "5"}}, Variables({{"GRADORACLE_MAX_COUNT", "x"}}))),
              StartsWith("GRADORACLE_MAX_COUNT"));
}

// Would catch a combination that would be half obeyed: each names the flag and its value.
TEST(ResolveConfig, RefusesSettingsThatContradictEachOther) {
  struct Case {
    FlagValues flags;
    std::string field;
    std::string says;
  };
  for (const Case& c : {
           Case{{{"noise-scale", "2"}}, "noise_scale", "--noise-scale 2"},
           Case{{{"noise-scale", "2"}, {"noise-rule", "fixed"}, {"noise-variance", "1"}}, "noise_scale", "fixed"},
           Case{{{"noise-rule", "scaled"}}, "noise_scale", "needs --noise-scale"},
           Case{{{"noise-variance", "2"}}, "noise_variance", "--noise-variance 2"},
           Case{{{"noise-rule", "fixed"}}, "noise_variance", "needs --noise-variance"},
           Case{{{"min-batch-size", "64"}, {"max-batch-size", "63"}}, "max_batch_size", "--max-batch-size 63"},
           Case{{{"scaling", "s.json"}, {"standardise", "false"}}, "scaling", "--scaling s.json"},
           Case{{{"listen", "nowhere"}}, "listen", "--listen"},
           Case{{{"auth", "tokens"}}, "ledger", "--auth tokens"},
           Case{{{"auth", "mtls"}, {"tls-cert", "x"}, {"tls-key", "y"}}, "client_ca", "--auth mtls"},
           Case{{{"ledger", "sqlite:"}}, "ledger", "sqlite:FILE"},
           Case{{{"ledger", "file.db"}}, "ledger", "sqlite:FILE"},
           Case{{{"audit-log", "x"}}, "audit_log", "memory"},
           Case{{{"tls-cert", "x"}}, "tls_key", "--tls-key FILE"},
           Case{{{"tls-key", "x"}}, "tls_cert", "--tls-cert FILE"},
           Case{{{"client-ca", "x"}}, "client_ca", "give --tls-cert"},
           Case{{{"client-ca", "x"}, {"tls-cert", "y"}, {"tls-key", "z"}}, "client_ca", "--auth none"},
           Case{{{"auth", "password"}}, "auth", "one of none, tokens, mtls"},
           Case{{{"admin-listen", "here"}}, "admin_listen", "--admin-listen: must be HOST:PORT"},
           Case{{{"clip-norm", "1"}}, "gradient_noise_multiplier", "go together"},
           Case{{{"clip-norm", "1"}, {"gradient-noise-multiplier", "1"}}, "sampling", "needs --sampling poisson"},
           Case{{{"sampling", "poisson"}}, "sampling", "needs --clip-norm"},
           Case{{{"max-participation", "5"}}, "max_participation", "needs --sampling shuffled_epochs"},
           Case{{{"reply-grid", "0.3"}}, "reply_grid", "power of two"},
           Case{{{"mask-variance", "1"}, {"noise-rule", "scaled"}, {"noise-scale", "2"}},
                "noise_rule",
                "leave the rule"},
       }) {
    SCOPED_TRACE(c.says);
    const auto resolved = ResolveConfig(c.flags, Variables({}));
    ASSERT_EQ(resolved.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorField(resolved.status()), c.field);
    EXPECT_THAT(std::string(resolved.status().message()), HasSubstr(c.says));
  }
  EXPECT_TRUE(ResolveConfig({{"noise-rule", "scaled"}, {"noise-scale", "2"}}, Variables({})).ok());
  EXPECT_TRUE(ResolveConfig({{"noise-rule", "fixed"}, {"noise-variance", "0"}}, Variables({})).ok());
  EXPECT_TRUE(ResolveConfig({{"auth", "none"}, {"ledger", "memory"}}, Variables({})).ok());
  EXPECT_TRUE(ResolveConfig({{"ledger", "sqlite:x"}, {"dataset-limit", "0"}}, Variables({})).ok());
}

// Catches: a password that libpq would understand let pass, or repeated in the refusal.
TEST(ResolveConfig, RefusesPasswordsOfALedgerWithoutRepeatingThem) {
  for (const char* url : {"postgresql://user:canary@host/db", "postgres://host/db?password=canary",
                          "postgresql://host/db?pass%77ord=canary", "postgresql://host/db?sslpassword=canary",
                          "postgresql://user:canary/secret@host/db", "postgresql://user:0/canary@host/db",
                          "postgresql://user:canary", "postgresql://host/db?port=canary"}) {
    const auto resolved = ResolveConfig({{"ledger", url}}, Variables({}));
    EXPECT_EQ(ErrorReason(resolved.status()), "LEDGER_PASSWORD") << url;
    EXPECT_THAT(std::string(resolved.status().message()), Not(HasSubstr("canary")));
  }
  const auto garbled = ResolveConfig({{"ledger", "postgresql://user:canary@[host/db"}}, Variables({}));
  EXPECT_EQ(ErrorField(garbled.status()), "ledger");
  EXPECT_THAT(std::string(garbled.status().message()), Not(HasSubstr("canary")));
}

TEST(CheckExposure, NeedsInsecureOffLoopback) {
  ServerConfig config;
  EXPECT_TRUE(CheckExposure(config).ok());
  config.listen = "0.0.0.0:1";
  EXPECT_EQ(ErrorReason(CheckExposure(config)), "LISTEN_INSECURE");
  config.auth = "tokens";
  EXPECT_THAT(std::string(CheckExposure(config).message()), HasSubstr("no TLS"));
  config.tls_cert = "server.pem";
  EXPECT_TRUE(CheckExposure(config).ok());
  config.auth = "none";
  EXPECT_THAT(std::string(CheckExposure(config).message()), HasSubstr("no --auth"));
  config.insecure = true;
  EXPECT_TRUE(CheckExposure(config).ok());
  config.tls_cert = "";
  EXPECT_TRUE(CheckExposure(config).ok());
}

TEST(CheckFiles, NamesWhatIsMissing) {
  ServerConfig config;
  EXPECT_EQ(ErrorReason(CheckFiles(config)), "DATA_REQUIRED");
  config.data = "no/such.csv";
  EXPECT_THAT(std::string(CheckFiles(config).message()), HasSubstr("--data no/such.csv"));
  config.data = testing::TempDir();  // a folder can be accessed, but is no file
  EXPECT_EQ(ErrorReason(CheckFiles(config)), "FILE_UNREADABLE");
  config.data = WriteFile("");
  EXPECT_TRUE(CheckFiles(config).ok());
  config.scaling = "no/such.json";
  EXPECT_THAT(std::string(CheckFiles(config).message()), HasSubstr("--scaling no/such.json"));
}

TEST(ToOracleOptions, PassesEverythingOn) {
  ServerConfig config;
  config.data = "d";
  config.target = "t";
  config.standardise = false;
  config.scaling = "s";
  config.noise_rule = "scaled";
  config.noise_scale = 2;
  config.extra_noise_variances = {3};
  config.curvature_probe = true;
  config.sampling = "shuffled_epochs";
  config.min_batch_size = 4;
  config.max_batch_size = 5;
  config.max_count = 6;
  config.max_weights_norm = 7;
  config.publish_feature_names = true;
  config.dataset_version = "v";
  const auto options = ToOracleOptions(config);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->data_path, "d");
  EXPECT_EQ(options->target, "t");
  EXPECT_FALSE(options->standardise);
  EXPECT_EQ(options->scaling_path, "s");
  EXPECT_EQ(options->noise.rule, NoiseRule::kScaled);
  EXPECT_EQ(options->noise.scale, 2);
  EXPECT_EQ(options->extra_noise_variances, std::vector<double>{3});
  EXPECT_TRUE(options->curvature_probe);
  EXPECT_EQ(options->sampling, Sampling::kShuffledEpochs);
  EXPECT_EQ(options->min_batch_size, 4);
  EXPECT_EQ(options->max_batch_size, 5);
  EXPECT_EQ(options->max_count, 6);
  EXPECT_EQ(options->max_weights_norm, 7);
  EXPECT_TRUE(options->publish_feature_names);
  EXPECT_EQ(options->dataset_version, "v");
}

// Would catch output of check-config that is not the configuration it describes.
TEST(FormatConfig, ReadBackGivesTheSameConfiguration) {
  const auto original = ResolveConfig({{"target", "a \"b\""},
                                       {"standardise", "false"},
                                       {"max-weights-norm", "0.1"},
                                       {"extra-noise-variances", "1,2.5"},
                                       {"shutdown-delay", "250ms"}},
                                      Variables({}));
  ASSERT_TRUE(original.ok()) << original.status();
  const std::string text = FormatConfig(*original);
  EXPECT_THAT(text, HasSubstr("max_weights_norm = 0.1  # flag --max-weights-norm\n"));
  EXPECT_THAT(text, HasSubstr("max_count = 1000000  # default\n"));
  const auto again = ResolveConfig({{"config", WriteFile(text)}}, Variables({}));
  ASSERT_TRUE(again.ok()) << again.status();
  for (const Setting& setting : Settings()) {
    EXPECT_EQ(FormatSetting(setting, again->config), FormatSetting(setting, original->config)) << setting.name;
  }
}

// Catches: a file's noise_scale making every stronger noise rule a conflict; a conflict within one source passing.
TEST(ResolveConfig, AStrongerRuleSetsAsideWhatBelongedToTheWeakerOne) {
  const std::string path = WriteFile("noise_rule = \"scaled\"\nnoise_scale = 2.0\nscaling = \"s.json\"\n");
  const FlagValues file = {{"config", path}};
  const auto with = [&](const std::string& name, const std::string& value) {
    FlagValues flags = file;
    flags[name] = value;
    return ResolveConfig(flags, Variables({}));
  };
  ASSERT_TRUE(ResolveConfig(file, Variables({})).ok());
  const auto calibrated = with("noise-rule", "calibrated");
  ASSERT_TRUE(calibrated.ok()) << calibrated.status();
  EXPECT_FALSE(calibrated->config.noise_scale.has_value());
  EXPECT_EQ(calibrated->origins.count("noise-scale"), 0);
  const auto raw = with("standardise", "false");
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ(raw->config.scaling, "");
  EXPECT_EQ(ErrorReason(with("noise-variance", "1").status()), "CONFIG_CONFLICT") << "no rule was changed";
  const std::string both = WriteFile("noise_rule = \"none\"\nnoise_scale = 2.0\n");
  EXPECT_EQ(ErrorReason(ResolveConfig({{"config", both}}, Variables({})).status()), "CONFIG_CONFLICT");
  EXPECT_EQ(
      ErrorReason(ResolveConfig(file, Variables({{"GRADORACLE_NOISE_RULE", "none"}, {"GRADORACLE_NOISE_SCALE", "3"}}))
                      .status()),
      "CONFIG_CONFLICT");
}

}  // namespace
}  // namespace gradoracle
