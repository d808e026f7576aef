#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/cli/command_line.h"
#include "client/cli/estimate_command.h"
#include "client/cli/info_command.h"
#include "client/cli/query_command.h"
#include "core/errors.h"
#include "core/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

absl::Status Parse(const std::string& words, CommandLine& command_line) {
  return ParseCommandLine(absl::StrSplit(words, ' ', absl::SkipEmpty()), command_line);
}

// The verb given, which must be of class `Verb`.
template <typename Verb>
Verb Parsed(const std::string& words) {
  CommandLine command_line;
  const absl::Status status = Parse(words, command_line);
  EXPECT_TRUE(status.ok()) << words << ": " << status;
  EXPECT_EQ(command_line.text, "");
  const auto* command = dynamic_cast<const Verb*>(command_line.command.get());
  EXPECT_NE(command, nullptr) << words;
  return command == nullptr ? Verb() : *command;
}

constexpr char kEstimate[] = "estimate --oracle h:1 --weights zeros --batch-size 256 --count 4096 ";

class CliArguments : public ::testing::Test {
 protected:
  void SetUp() override { unsetenv("GRADORACLE_ORACLE"); }
  void TearDown() override { unsetenv("GRADORACLE_ORACLE"); }
};

TEST_F(CliArguments, EveryFlagOfEstimate) {
  const auto command = Parsed<EstimateCommand>(
      "estimate --oracle host:50051 --deadline 2.5 --weights w.npy --batch-size 64 --count 1000 --out h.npy "
      "--gradients-out g.npy --estimator covariance --level 0.9 --total-noise-variance 12.5 --json");
  EXPECT_TRUE(command.connection.json());
  EXPECT_EQ(command.connection.oracle(), "host:50051");
  EXPECT_EQ(command.connection.settings().deadline, absl::Milliseconds(2500));
  EXPECT_EQ(command.gradients.weights(), "w.npy");
  EXPECT_EQ(command.gradients.batch_size(), 64);
  EXPECT_EQ(command.gradients.count(), 1000);
  EXPECT_EQ(command.out, "h.npy");
  EXPECT_EQ(command.gradients_out, "g.npy");
  EXPECT_EQ(command.level, 0.9);
  EXPECT_EQ(command.total_noise_variance, 12.5);
}

TEST_F(CliArguments, SynonymsAndDefaults) {
  const auto command = Parsed<QueryCommand>("query --oracle h:1 --at zeros --batch-size 64 --gradients 10 --out g.npy");
  EXPECT_EQ(command.gradients.weights(), "zeros");
  EXPECT_EQ(command.gradients.count(), 10);
  EXPECT_EQ(command.connection.settings().deadline, absl::Seconds(30));
  EXPECT_FALSE(command.connection.json());
  EXPECT_EQ(Parsed<InfoCommand>("info --oracle h:1 --deadline 500ms").connection.settings().deadline,
            absl::Milliseconds(500));
}

TEST_F(CliArguments, TheFlagIsStrongerThanTheEnvironment) {
  setenv("GRADORACLE_ORACLE", "environment:1", 1);
  EXPECT_EQ(Parsed<InfoCommand>("info").connection.oracle(), "environment:1");
  EXPECT_EQ(Parsed<InfoCommand>("info --oracle flag:1").connection.oracle(), "flag:1");
}

TEST_F(CliArguments, WhatIsShownComesFromFlagsOrTheEnvironment) {
  const char* variables[] = {"GRADORACLE_TOKEN_FILE", "GRADORACLE_TLS_CA", "GRADORACLE_TLS_CERT", "GRADORACLE_TLS_KEY"};
  for (const char* variable : variables) setenv(variable, variable, 1);
  const auto from_environment = Parsed<InfoCommand>("info --oracle h:1").connection.settings();
  const auto from_flags =
      Parsed<InfoCommand>("info --oracle h:1 --token-file t --tls-ca a --tls-cert c --tls-key k --insecure")
          .connection.settings();
  for (const char* variable : variables) unsetenv(variable);
  EXPECT_EQ(from_environment.token_file, "GRADORACLE_TOKEN_FILE");
  EXPECT_EQ(from_environment.tls_ca, "GRADORACLE_TLS_CA");
  EXPECT_EQ(from_environment.tls_cert, "GRADORACLE_TLS_CERT");
  EXPECT_EQ(from_environment.tls_key, "GRADORACLE_TLS_KEY");
  EXPECT_FALSE(from_environment.insecure);
  EXPECT_EQ(from_flags.token_file + from_flags.tls_ca + from_flags.tls_cert + from_flags.tls_key, "tack");
  EXPECT_TRUE(from_flags.insecure);
  EXPECT_EQ(Parsed<InfoCommand>("info --oracle h:1").connection.settings().token_file, "");
}

TEST_F(CliArguments, ARecordingNeedsNeitherOracleNorWeightsNorCount) {
  const auto command = Parsed<EstimateCommand>("estimate --from g.npy --batch-size 8 --total-noise-variance 8");
  EXPECT_EQ(command.from, "g.npy");
  EXPECT_EQ(command.level, 0.95);
  EXPECT_FALSE(command.gradients.count().has_value());
}

TEST_F(CliArguments, HelpAndVersionAreText) {
  for (const std::string words : {"--help", "info --help", "query --help", "estimate --help"}) {
    CommandLine command_line;
    ASSERT_TRUE(Parse(words, command_line).ok());
    EXPECT_THAT(command_line.text, HasSubstr("gradoracle ")) << words;
    EXPECT_THAT(command_line.text, HasSubstr("Example")) << words;
  }
  CommandLine command_line;
  ASSERT_TRUE(Parse("--version", command_line).ok());
  EXPECT_EQ(command_line.text, "gradoracle " + VersionString() + "\n");
}

struct BadLine {
  std::string name;
  std::string words;
  std::string reason;
  std::string field;
};

class BadCommandLine : public CliArguments, public ::testing::WithParamInterface<BadLine> {};

// Catches: an integer past 2^63 silently becoming 2^63 - 1 (CLI11 2.1.2 does), trailing rubbish after a number, a flag
// of a later version ignored.
TEST_P(BadCommandLine, IsAUsageErrorNamingTheField) {
  CommandLine command_line;
  const absl::Status status = Parse(GetParam().words, command_line);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), GetParam().reason) << status;
  EXPECT_EQ(ErrorField(status).value_or(""), GetParam().field) << status;
}

INSTANTIATE_TEST_SUITE_P(
    All, BadCommandLine,
    ::testing::Values(
        BadLine{"Nothing", "", "USAGE", ""}, BadLine{"UnknownVerb", "frobnicate", "USAGE", ""},
        BadLine{"UnknownFlag", "info --oracle h:1 --frobnicate", "USAGE", ""},
        BadLine{"ValueMissing", "info --oracle", "USAGE", ""},
        BadLine{"FlagTwice", "info --oracle h:1 --oracle h:2", "USAGE", ""},
        BadLine{"NoOracle", "info", "MISSING", "oracle"},
        BadLine{"PortThatWouldWrap", "info --oracle h:99999", "ORACLE_ADDRESS", "oracle"},
        BadLine{"NoPort", "info --oracle localhost", "ORACLE_ADDRESS", "oracle"},
        BadLine{"UrlForAnAddress", "info --oracle http://h:1", "ORACLE_ADDRESS", "oracle"},
        BadLine{"CountOfOne", "estimate --oracle h:1 --weights zeros --batch-size 64 --count 1", "TOO_FEW_GRADIENTS",
                "count"},
        BadLine{"RecordingOverwritten", "estimate --from g.npy --batch-size 64 --total-noise-variance 64 --out ./g.npy",
                "SAME_FILE", "from"},
        BadLine{"TwoOutputsInOneFile",
                "estimate --oracle h:1 --weights zeros --batch-size 64 --count 9 --out x.npy --gradients-out x.npy",
                "SAME_FILE", "gradients_out"},
        BadLine{"WeightsOverwritten", "query --oracle h:1 --weights w.npy --batch-size 1 --count 1 --out ./w.npy",
                "SAME_FILE", "weights"},
        BadLine{"WeightsOverwrittenByEstimate",
                "estimate --oracle h:1 --weights w.npy --batch-size 64 --count 9 --out w.npy", "SAME_FILE", "weights"},
        BadLine{"TargetOfARecording",
                "estimate --from g.npy --batch-size 64 --total-noise-variance 64 --target-error 0.1",
                "ESTIMATOR_CONFLICT", "target_error"},
        BadLine{"NoWeights", "estimate --oracle h:1 --batch-size 1 --count 1", "MISSING", "weights"},
        BadLine{"NoBatchSize", "estimate --oracle h:1 --weights zeros --count 1", "MISSING", "batch_size"},
        BadLine{"NoCount", "estimate --oracle h:1 --weights zeros --batch-size 1", "MISSING", "count"},
        BadLine{"QueryWithoutOut", "query --oracle h:1 --weights zeros --batch-size 1 --count 1", "MISSING", "out"},
        BadLine{"CountOverflows", "query --oracle h:1 --weights zeros --batch-size 1 --count 9223372036854775808",
                "NOT_AN_INTEGER", "count"},
        BadLine{"CountWithFraction", "query --oracle h:1 --weights zeros --batch-size 1 --count 1.5", "NOT_AN_INTEGER",
                "count"},
        BadLine{"BatchSizeNotANumber", "query --oracle h:1 --weights zeros --batch-size ten --count 1",
                "NOT_AN_INTEGER", "batch_size"},
        BadLine{"LevelTooHigh", std::string(kEstimate) + "--level 1", "LEVEL_OUT_OF_RANGE", "level"},
        BadLine{"LevelTooLow", std::string(kEstimate) + "--level 0.5", "LEVEL_OUT_OF_RANGE", "level"},
        BadLine{"LevelNan", std::string(kEstimate) + "--level nan", "NOT_A_NUMBER", "level"},
        BadLine{"VarianceInfinite", std::string(kEstimate) + "--total-noise-variance 1e999", "NOT_A_NUMBER",
                "total_noise_variance"},
        BadLine{"VarianceZero", std::string(kEstimate) + "--total-noise-variance 0",
                "TOTAL_NOISE_VARIANCE_NOT_POSITIVE", "total_noise_variance"},
        BadLine{"Deadline", "info --oracle h:1 --deadline soon", "DEADLINE_INVALID", "deadline"},
        BadLine{"DeadlineZero", "info --oracle h:1 --deadline 0", "DEADLINE_INVALID", "deadline"},
        BadLine{"OtherEstimator", std::string(kEstimate) + "--estimator oas", "ESTIMATOR_UNKNOWN", "estimator"},
        BadLine{"TargetError", std::string(kEstimate) + "--target-error 2", "TARGET_ERROR_OUT_OF_RANGE",
                "target_error"},
        BadLine{"StateOfAnother", std::string(kEstimate) + "--state f --estimator active", "ESTIMATOR_CONFLICT",
                "state"},
        BadLine{"StateAndOut", std::string(kEstimate) + "--state f --out f", "SAME_FILE", "state"},
        BadLine{"PlanWithoutTarget", "plan --oracle h:1 --batch-size 64", "MISSING", "target_error"},
        BadLine{"PilotNowhere", "plan --oracle h:1 --batch-size 64 --target-error 0.1 --pilot 100", "MISSING",
                "weights"},
        BadLine{"MergeNothing", "merge --out h.npy", "MISSING", "state"}),
    [](const ::testing::TestParamInfo<BadLine>& parameter) { return parameter.param.name; });

TEST_F(CliArguments, JsonIsKnownEvenWhenTheRestIsWrong) {
  CommandLine command_line;
  EXPECT_FALSE(Parse("estimate --frobnicate --json", command_line).ok());
  EXPECT_TRUE(command_line.json);
}

}  // namespace
}  // namespace gradoracle
