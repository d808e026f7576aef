// The whole program in process, with an oracle that lives in the test.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/estimate_report.h"
#include "client/cli/exit_code.h"
#include "client/cli/progress.h"
#include "client/cli/run_program.h"
#include "core/errors.h"
#include "core/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kDimension = 4;
constexpr int64_t kBlock = 100;

// Answers from a seeded generator, in blocks of 100, until told otherwise.
class ScriptedOracle : public GradientSource {
 public:
  OracleInfo info;
  absl::Status info_status;
  int64_t fail_after = -1;  // gradients; -1: never
  absl::Status failure = absl::UnavailableError("connection lost");
  std::function<void(int64_t done)> after_block = [](int64_t) {};
  GradientQuery last_query;
  bool asked = false;

  ScriptedOracle() {
    info.dimension = kDimension;
    info.row_count = 1000;
    info.scaling = "standardised";
    info.limits.max_batch_size = 1000;
    info.limits.max_weights_norm = 10;  // too short for designs
    info.dataset_version = "v1";
    info.version = "1.2.3";
  }
  absl::StatusOr<OracleInfo> Info() override {
    if (!info_status.ok()) return info_status;
    return info;
  }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    last_query = query;
    asked = true;
    std::mt19937_64 generator(1);
    for (int64_t done = 0; done < query.count;) {
      if (done == fail_after) return failure;
      const int64_t length = std::min(kBlock, query.count - done);
      if (absl::Status status = sink(StandardNormal(generator, length, kDimension)); !status.ok()) return status;
      done += length;
      after_block(done);
    }
    return absl::OkStatus();
  }
};

// Lends the scripted oracle to the program.
class Lent : public GradientSource {
 public:
  explicit Lent(ScriptedOracle& oracle) : oracle_(oracle) {}
  absl::StatusOr<OracleInfo> Info() override { return oracle_.Info(); }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    return oracle_.Gradients(query, sink);
  }

 private:
  ScriptedOracle& oracle_;
};

class CliProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("GRADORACLE_ORACLE");
    folder_ = ::testing::TempDir() + "/cli_program_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  // Files left in the folder, temporary ones included.
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  int Run(std::vector<std::string> words) {
    out_.str("");
    err_.str("");
    Environment environment{
        .out = out_,
        .err = err_,
        .interrupted = interrupted_,
        .connect = [this](const std::string&, absl::Duration) -> absl::StatusOr<std::unique_ptr<GradientSource>> {
          return std::make_unique<Lent>(oracle_);
        }};
    return RunProgram(words, environment);
  }

  int RunEstimate(const std::vector<std::string>& more, const std::string& count = "1000") {
    std::vector<std::string> words = {"estimate",     "--oracle", "h:1",     "--weights", "zeros",
                                      "--batch-size", "64",       "--count", count,       "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return Run(words);
  }

  int RunQuery(const std::string& count) {
    return Run({"query", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", count, "--out",
                Path("g.npy"), "--json"});
  }

  // Fails the test unless stdout is one JSON object and nothing else.
  nlohmann::ordered_json Json() const {
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(out_.str(), nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << out_.str();
    return json;
  }

  std::vector<std::string> Keys(const nlohmann::ordered_json& json) const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) keys.push_back(key);
    return keys;
  }

  ScriptedOracle oracle_;
  std::atomic<bool> interrupted_{false};
  std::ostringstream out_, err_;
  std::string folder_;
};

TEST_F(CliProgram, InfoHasTheKeysOfTheContract) {
  oracle_.info.feature_names = {"a", "b", "c", "d"};
  EXPECT_EQ(Run({"info", "--oracle", "h:1", "--json"}), 0);
  EXPECT_THAT(Keys(Json()), ElementsAre("dimension", "row_count", "scaling", "loss", "noise", "sampling", "limits",
                                        "dataset_version", "feature_names", "version"));
  EXPECT_EQ(Json()["noise"].dump(), R"({"rule":"calibrated","extra":[],"curvature_probe":false})");
  EXPECT_EQ(Json()["limits"]["max_batch_size"], 1000);
  EXPECT_EQ(err_.str(), "");
  EXPECT_EQ(Run({"info", "--oracle", "h:1"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("1000 rows, dimension 4"));
}

TEST_F(CliProgram, QueryWritesTheGradients) {
  EXPECT_EQ(RunQuery("250"), 0);
  EXPECT_THAT(Keys(Json()), ElementsAre("dimension", "batch_size", "count", "seconds"));
  EXPECT_EQ(Json()["count"], 250);
  const absl::StatusOr<RowMajorMatrix> gradients = ReadNpyMatrix(Path("g.npy"));
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  std::mt19937_64 generator(1);
  EXPECT_EQ(gradients->topRows(kBlock), StandardNormal(generator, kBlock, kDimension));
  EXPECT_EQ(gradients->rows(), 250);
  EXPECT_EQ(oracle_.last_query.weights, Eigen::VectorXd::Zero(kDimension));
  EXPECT_THAT(Files(), ElementsAre("g.npy"));
}

TEST_F(CliProgram, EstimateHasTheKeysOfTheContract) {
  EXPECT_EQ(RunEstimate({"--out", Path("h.npy"), "--gradients-out", Path("g.npy"), "--no-unit-diagonal"}), 0);
  const nlohmann::ordered_json json = Json();
  EXPECT_THAT(Keys(json),
              ElementsAre("dimension", "batch_size", "gradients", "estimator", "reason", "form", "unit_diagonal",
                          "not_converged", "unseen_features", "total_noise_variance", "mean_gradient_norm", "trace",
                          "effective_rank", "eigenvalues", "relative_error", "seconds", "gradients_per_second"));
  EXPECT_THAT(Keys(json["relative_error"]), ElementsAre("estimate", "upper", "level"));
  EXPECT_EQ(json["total_noise_variance"], 64);
  const RowMajorMatrix hessian = *ReadNpyMatrix(Path("h.npy"));
  const RowMajorMatrix gradients = *ReadNpyMatrix(Path("g.npy"));
  const RowMajorMatrix centred = gradients.rowwise() - gradients.colwise().mean();
  EXPECT_TRUE(hessian.isApprox(centred.transpose() * centred / 999, 1e-12));
  EXPECT_NEAR(json["trace"], hessian.trace(), 1e-12);
  EXPECT_THAT(Files(), ElementsAre("g.npy", "h.npy"));
}

// Catches: the recording and the stream taking different paths.
TEST_F(CliProgram, FromARecordingEqualsTheStream) {
  ASSERT_EQ(RunEstimate({"--out", Path("h.npy"), "--gradients-out", Path("g.npy"), "--no-unit-diagonal"}), 0);
  const nlohmann::ordered_json streamed = Json();
  ASSERT_EQ(Run({"estimate", "--from", Path("g.npy"), "--batch-size", "64", "--total-noise-variance", "64", "--out",
                 Path("h2.npy"), "--json"}),
            0);
  EXPECT_TRUE(ReadNpyMatrix(Path("h2.npy"))->isApprox(*ReadNpyMatrix(Path("h.npy")), 1e-12));
  EXPECT_NEAR(Json()["effective_rank"], streamed["effective_rank"], 1e-12);
  ASSERT_EQ(Run({"estimate", "--from", Path("g.npy"), "--batch-size", "64", "--total-noise-variance", "64", "--count",
                 "500", "--json"}),
            0);
  EXPECT_EQ(Json()["gradients"], 500);
  EXPECT_EQ(Run({"estimate", "--from", Path("g.npy"), "--batch-size", "64", "--total-noise-variance", "64", "--count",
                 "1001", "--json"}),
            2);
  EXPECT_EQ(Json()["error"]["field"], "count");
}

TEST_F(CliProgram, TooFewGradientsForALimitIsNull) {
  EXPECT_EQ(RunEstimate({}, "20"), 0);
  EXPECT_TRUE(Json()["relative_error"]["upper"].is_null());
  EXPECT_TRUE(Json()["relative_error"]["estimate"].is_null());
  EXPECT_EQ(RunEstimate({}, "1"), 2);
  EXPECT_EQ(Json()["error"]["reason"], "TOO_FEW_GRADIENTS");
}

TEST_F(CliProgram, ATextReportSaysTheSame) {
  EXPECT_EQ(Run({"estimate", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "1000"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("1000 of batch size 64, dimension 4"));
  EXPECT_THAT(out_.str(), HasSubstr("95 % confidence"));
  EXPECT_THAT(out_.str(), ::testing::Not(HasSubstr("\x1b")));
}

// The noise that is known, told, or neither.
TEST_F(CliProgram, TotalNoiseVarianceComesFromTheOracleOrTheUser) {
  oracle_.info.noise.rule = NoiseRule::kScaled;
  oracle_.info.noise.scale = 2;
  EXPECT_EQ(RunEstimate({}), 0);
  EXPECT_EQ(Json()["total_noise_variance"], 128);
  EXPECT_EQ(RunEstimate({"--total-noise-variance", "128"}), 0);
  EXPECT_EQ(RunEstimate({"--total-noise-variance", "127"}), 2);  // contradicts the rule
  EXPECT_EQ(Json()["error"]["field"], "total_noise_variance");
  oracle_.info.noise.extra_variances = {127};
  EXPECT_EQ(RunEstimate({"--total-noise-variance", "127"}), 0);  // asked for
  EXPECT_EQ(oracle_.last_query.total_noise_variance, 127);
  for (const NoiseRule rule : {NoiseRule::kFixed, NoiseRule::kNone}) {
    oracle_.info.noise.rule = rule;
    oracle_.asked = false;
    EXPECT_EQ(RunEstimate({}), 2);
    EXPECT_THAT(Json()["error"]["message"], HasSubstr("--total-noise-variance"));
    EXPECT_FALSE(oracle_.asked);
    EXPECT_EQ(RunEstimate({"--total-noise-variance", "3"}), 0);
    EXPECT_FALSE(oracle_.last_query.total_noise_variance.has_value());
  }
}

// Ctrl-C: what was gathered is written and said, exit 130.
TEST_F(CliProgram, CtrlCKeepsWhatWasGathered) {
  oracle_.after_block = [this](int64_t done) { interrupted_ = done >= 300; };
  EXPECT_EQ(RunEstimate({"--out", Path("h.npy"), "--gradients-out", Path("g.npy")}, "1000000"), 130);
  EXPECT_EQ(Json()["gradients"], 400);
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 400);
  EXPECT_EQ(ReadNpyMatrix(Path("h.npy"))->rows(), kDimension);
  interrupted_ = false;
  EXPECT_EQ(RunQuery("1000000"), 130);
  EXPECT_EQ(Json()["count"], 400);
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 400);
}

TEST_F(CliProgram, CtrlCBeforeTheFirstGradientLeavesNothing) {
  interrupted_ = true;
  oracle_.fail_after = 0;
  oracle_.failure = absl::CancelledError("cancelled");
  EXPECT_EQ(RunQuery("1000"), 130);
  EXPECT_EQ(Json()["error"]["code"], "CANCELLED");
  EXPECT_THAT(Files(), ElementsAre());
  oracle_.info_status = absl::CancelledError("cancelled");
  EXPECT_EQ(RunEstimate({}), 130);
}

TEST_F(CliProgram, CtrlCAfterTheLastGradientIsNoInterruption) {
  oracle_.after_block = [this](int64_t done) { interrupted_ = done == 1000; };
  EXPECT_EQ(RunEstimate({}), 0);
}

// A connection lost midway: the error, how far it came, and the partial recording.
TEST_F(CliProgram, AFailureMidwayKeepsTheRecording) {
  oracle_.fail_after = 500;
  EXPECT_EQ(RunEstimate({"--out", Path("h.npy"), "--gradients-out", Path("g.npy")}), 4);
  EXPECT_THAT(Json()["error"]["message"], HasSubstr("500 of 1000 gradients had arrived and are kept in"));
  EXPECT_THAT(err_.str(), HasSubstr("connection lost"));
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 500);
  EXPECT_THAT(Files(), ElementsAre("g.npy"));
  EXPECT_EQ(RunQuery("1000"), 4);
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 500);
}

// A refusal: code 3, reason and field passed on, no file made, none replaced.
TEST_F(CliProgram, ARefusalLeavesNoFile) {
  ASSERT_TRUE(WriteNpy(Path("g.npy"), RowMajorMatrix::Ones(1, 1)).ok());
  oracle_.fail_after = 0;
  oracle_.failure = FieldOutOfRange("COUNT_TOO_LARGE", "count", "count is 5, but must be at most 4");
  EXPECT_EQ(RunQuery("5"), 3);
  EXPECT_EQ(Json()["error"].dump(), R"({"code":"OUT_OF_RANGE","reason":"COUNT_TOO_LARGE","field":"count",)"
                                    R"("message":"count is 5, but must be at most 4"})");
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 1);
  EXPECT_EQ(RunEstimate({"--out", Path("h.npy")}), 3);
  EXPECT_THAT(Files(), ElementsAre("g.npy"));
}

// Catches: the client refusing (or crashing) before the oracle has had its word.
TEST_F(CliProgram, NonsenseIsTheOraclesToRefuse) {
  oracle_.fail_after = 0;
  oracle_.failure = InvalidField("BATCH_SIZE_NOT_POSITIVE", "batch_size", "batch_size is 0");
  EXPECT_EQ(Run({"query", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "0", "--count", "5", "--out",
                 Path("g.npy")}),
            3);
  EXPECT_TRUE(oracle_.asked);
}

// Catches: a limit of one request passed by several together, or gradients charged before the refusal. The words are
// the oracle's, as are the exit codes.
TEST_F(CliProgram, WhatTheOracleWouldRefuseIsNotAskedFor) {
  oracle_.info.limits.max_count = 1000;
  for (const char* estimator : {"auto", "covariance", "warm_up"}) {
    for (const auto& [count, reason] : {std::pair("1001", "COUNT_TOO_LARGE"), std::pair("0", "COUNT_NOT_POSITIVE"),
                                        std::pair("-9223372036854775808", "COUNT_NOT_POSITIVE"),
                                        std::pair("9223372036854775807", "COUNT_TOO_LARGE")}) {
      EXPECT_EQ(RunEstimate({"--estimator", estimator}, count), 3);
      EXPECT_EQ(Json()["error"]["reason"], reason);
      EXPECT_EQ(Json()["error"]["field"], "count");
    }
  }
  EXPECT_EQ(Run({"estimate", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "0", "--count", "5"}), 3);
  EXPECT_FALSE(oracle_.asked);
}

TEST_F(CliProgram, TheEstimatorIsChosenAndSaid) {
  oracle_.info.limits.max_weights_norm = 100;
  ASSERT_EQ(RunEstimate({}), 0);  // standard normal gradients: nothing in excess, no design (norm 100, n = 64: allowed)
  EXPECT_EQ(Json()["estimator"], "active");
  EXPECT_THAT(std::string(Json()["reason"]), HasSubstr("designed weights of norm 100"));
  oracle_.info.limits.max_weights_norm = 10;
  ASSERT_EQ(RunEstimate({}), 0);
  EXPECT_EQ(Json()["estimator"], "covariance");
  EXPECT_EQ(Json()["gradients"], 1000);
  EXPECT_EQ(Json()["unit_diagonal"], true);
  EXPECT_NEAR(Json()["trace"], kDimension, 1e-12);
  EXPECT_EQ(Json()["not_converged"].dump(), "[]");
  oracle_.info.noise.curvature_probe = true;
  ASSERT_EQ(RunEstimate({}), 0);
  EXPECT_EQ(Json()["estimator"], "probe");
  EXPECT_TRUE(oracle_.last_query.curvature_probe);
  ASSERT_EQ(RunEstimate({"--estimator", "covariance", "--no-unit-diagonal"}), 0);
  EXPECT_EQ(Json()["estimator"], "covariance");
  EXPECT_TRUE(Json()["reason"].is_null());
  EXPECT_EQ(Json()["unit_diagonal"], false);
  EXPECT_EQ(Run({"estimate", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "1000"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("estimator            probe: weights long enough for a design are not allowed; the "
                                    "curvature probe is offered\n"));
}

// Catches: an estimator that the arguments rule out, run all the same, or refused without a word why.
TEST_F(CliProgram, EstimatorsThatDoNotFitAreRefused) {
  EXPECT_EQ(RunEstimate({"--estimator", "oas"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "ESTIMATOR_UNKNOWN");
  EXPECT_EQ(RunEstimate({"--estimator", "active", "--gradients-out", Path("g.npy")}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "ESTIMATOR_CONFLICT");
  EXPECT_EQ(RunEstimate({"--estimator", "probe"}), 3);
  EXPECT_EQ(Json()["error"]["reason"], "CURVATURE_PROBE_NOT_OFFERED");
  EXPECT_EQ(RunEstimate({"--estimator", "two_level"}), 3);
  EXPECT_EQ(Json()["error"]["reason"], "EXTRA_NOISE_NOT_OFFERED");
  EXPECT_EQ(RunEstimate({"--estimator", "corrected"}, "6"), 2);
  EXPECT_EQ(Json()["error"]["reason"], "TOO_FEW_GRADIENTS");
  EXPECT_FALSE(oracle_.asked);
  EXPECT_EQ(Run({"estimate", "--from", Path("g.npy"), "--estimator", "auto", "--batch-size", "8",
                 "--total-noise-variance", "8", "--json"}),
            2);
  EXPECT_EQ(Json()["error"]["field"], "from");
}

TEST_F(CliProgram, AnUnwritableFolderIsFoundBeforeAsking) {
  EXPECT_EQ(RunEstimate({"--out", "/nonexistent/h.npy"}), 2);
  EXPECT_FALSE(oracle_.asked);
  EXPECT_EQ(RunEstimate({"--gradients-out", "/nonexistent/g.npy"}), 2);
  EXPECT_FALSE(oracle_.asked);
}

TEST_F(CliProgram, BadFilesAreUsageErrors) {
  EXPECT_EQ(RunEstimate({}), 0);
  EXPECT_EQ(Run({"query", "--oracle", "h:1", "--weights", Path("none.npy"), "--batch-size", "64", "--count", "1",
                 "--out", Path("g.npy"), "--json"}),
            2);
  EXPECT_EQ(Json()["error"]["field"], "weights");
  EXPECT_EQ(Run({"estimate", "--from", Path("none.npy"), "--batch-size", "8", "--total-noise-variance", "8", "--json"}),
            2);
  EXPECT_EQ(Run({"--frobnicate", "--json"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "USAGE");
}

// Catches: NaN let through as an estimate. Gradients of nobody's making may hold anything.
TEST_F(CliProgram, ARecordingWithNanFails) {
  RowMajorMatrix gradients = RowMajorMatrix::Random(100, 3);
  gradients(50, 1) = std::nan("");
  ASSERT_TRUE(WriteNpy(Path("g.npy"), gradients).ok());
  EXPECT_EQ(Run({"estimate", "--from", Path("g.npy"), "--batch-size", "8", "--total-noise-variance", "8", "--json"}),
            1);
  EXPECT_EQ(Json()["error"]["reason"], "NOT_FINITE");
}

// Every status code an oracle can answer.
TEST(ExitCode, FollowsTheContract) {
  using absl::StatusCode;
  const auto oracle = [](StatusCode code) { return ExitCode(OracleError(absl::Status(code, ""))); };
  EXPECT_EQ(ExitCode({}), 0);
  for (const StatusCode code : {StatusCode::kInvalidArgument, StatusCode::kOutOfRange, StatusCode::kFailedPrecondition,
                                StatusCode::kResourceExhausted, StatusCode::kUnauthenticated,
                                StatusCode::kPermissionDenied, StatusCode::kAlreadyExists}) {
    EXPECT_EQ(oracle(code), 3) << absl::StatusCodeToString(code);
    EXPECT_EQ(ExitCode(UsageError(absl::Status(code, ""))), 2);
    EXPECT_EQ(ExitCode(RunError(absl::Status(code, ""))), 1);
  }
  for (const StatusCode code : {StatusCode::kUnavailable, StatusCode::kDeadlineExceeded}) EXPECT_EQ(oracle(code), 4);
  for (const StatusCode code :
       {StatusCode::kUnknown, StatusCode::kInternal, StatusCode::kDataLoss, StatusCode::kNotFound, StatusCode::kAborted,
        StatusCode::kUnimplemented, StatusCode::kCancelled}) {
    EXPECT_EQ(oracle(code), 1) << absl::StatusCodeToString(code);
  }
  EXPECT_EQ(ExitCode({absl::OkStatus(), ErrorOrigin::kRun, /*interrupted=*/true}), 130);
}

TEST(Progress, AppearsAfterASecondAndDisappears) {
  const absl::Time start = absl::UnixEpoch();
  std::ostringstream terminal;
  {
    Progress progress(&terminal, 1000, start);
    progress.Update(100, start + absl::Milliseconds(999));
    EXPECT_EQ(terminal.str(), "");
    progress.Update(200, start + absl::Seconds(2));
    EXPECT_THAT(terminal.str(), HasSubstr("200 of 1000 gradients, 100 per second, 8.0 s left"));
    const size_t length = terminal.str().size();
    progress.Update(201, start + absl::Milliseconds(2050));
    EXPECT_EQ(terminal.str().size(), length);  // not more than ten times a second
  }
  EXPECT_THAT(terminal.str(), ::testing::EndsWith("\r\x1b[K"));
  Progress silent(nullptr, 10, start);
  silent.Update(5, start + absl::Seconds(5));
}

// Catches: a state that is not taken up, not written, or written over by a run that was refused.
TEST_F(CliProgram, AStateGoesOn) {
  const std::string state = Path("a.state");
  ASSERT_EQ(RunEstimate({"--state", state}), 0);
  EXPECT_EQ(Json()["gradients"], 1000);
  ASSERT_EQ(RunEstimate({"--state", state}, "500"), 0);
  EXPECT_EQ(Json()["gradients"], 1500);
  EXPECT_EQ(Json()["state"]["gradients_added"], 500);
  oracle_.asked = false;
  oracle_.info.dataset_version = "v2";
  EXPECT_EQ(RunEstimate({"--state", state}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "STATE_MISMATCH");
  EXPECT_EQ(Json()["error"]["field"], "dataset_version");
  EXPECT_FALSE(oracle_.asked);
  oracle_.info.dataset_version = "v1";
  // What arrives before a failure has been paid for.
  oracle_.fail_after = 300;
  EXPECT_EQ(RunEstimate({"--state", state}), 4);
  oracle_.fail_after = -1;
  ASSERT_EQ(RunEstimate({"--state", state}, "100"), 0);
  EXPECT_EQ(Json()["gradients"], 1900);
  EXPECT_THAT(Files(), ElementsAre("a.state"));
}

TEST_F(CliProgram, StatesAreMerged) {
  ASSERT_EQ(RunEstimate({"--state", Path("a.state")}), 0);
  ASSERT_EQ(RunEstimate({"--state", Path("b.state")}, "500"), 0);
  const std::vector<std::string> merge = {"merge", Path("a.state"), Path("b.state"), "--json",
                                          "--out", Path("h.npy"),   "--state",       Path("c.state")};
  ASSERT_EQ(Run(merge), 0);
  EXPECT_EQ(Json()["gradients"], 1500);
  EXPECT_EQ(Json()["oracles"][0]["runs"], 2);
  EXPECT_EQ(ReadNpyMatrix(Path("h.npy"))->rows(), kDimension);
  EXPECT_EQ(Run({"merge", Path("a.state"), Path("c.state"), "--json"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "STATE_OVERLAP");
}

// Catches: a target reported as reached because it was asked for.
TEST_F(CliProgram, ATargetSaysWhatWasReached) {
  ASSERT_EQ(RunEstimate({"--target-error", "0.5"}, "5000"), 0);
  EXPECT_EQ(Json()["target_error"]["reached"], true);
  EXPECT_LE(Json()["relative_error"]["upper"], 0.5);
  EXPECT_LT(Json()["gradients"], 5000);
  ASSERT_EQ(RunEstimate({"--target-error", "0.001"}, "2000"), 0);
  EXPECT_EQ(Json()["target_error"]["asked"], 0.001);
  EXPECT_EQ(Json()["target_error"]["reached"], false);
  EXPECT_GT(Json()["relative_error"]["upper"], 0.001);
  EXPECT_EQ(Json()["gradients"], 2000);
}

TEST_F(CliProgram, APlanSpendsNothing) {
  const std::vector<std::string> plan = {"plan",   "--oracle",       "h:1", "--batch-size", "64",
                                         "--json", "--target-error", "0.1"};
  ASSERT_EQ(Run(plan), 0);
  EXPECT_FALSE(oracle_.asked);
  EXPECT_EQ(Json()["gradients"]["optimistic"], 3077);  // 4 (1 + 2/64) (1 + sqrt(ln 20))^2 / .01
  EXPECT_GT(Json()["gradients"]["worst"], Json()["gradients"]["optimistic"]);
  std::vector<std::string> pilot = plan;
  pilot.insert(pilot.end(), {"--pilot", "1000", "--weights", "zeros"});
  ASSERT_EQ(Run(pilot), 0);
  EXPECT_EQ(oracle_.last_query.count, 1000);
  EXPECT_EQ(Json()["pilot"]["gradients"], 1000);
}

}  // namespace
}  // namespace gradoracle
