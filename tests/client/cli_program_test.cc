// What `gradoracle` prints, writes and returns, whatever happens on the way.
#include "tests/client/cli_program.h"

#include "client/cli/exit_code.h"
#include "client/cli/progress.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

// A connection lost midway: the error and its exit code, and beside it all that the gradients until then are good for,
// as after Ctrl-C. Catches: a budget spent for nothing; two JSON objects; an estimate that passes for the whole.
TEST_F(CliProgram, ALostOracleLeavesTheEstimateOfWhatCame) {
  oracle_.fail_after = 500;
  EXPECT_EQ(RunEstimate({"--out", Path("h.npy"), "--gradients-out", Path("g.npy")}), 4);
  EXPECT_EQ(Json()["error"]["code"], "UNAVAILABLE");
  EXPECT_THAT(Json()["error"]["message"], HasSubstr("500 of 1000 gradients had arrived and are kept in"));
  EXPECT_EQ(Json()["gradients"], 500);
  EXPECT_THAT(err_.str(), HasSubstr("connection lost"));
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 500);
  EXPECT_EQ(ReadNpyMatrix(Path("h.npy"))->rows(), kDimension);
  EXPECT_THAT(Files(), ElementsAre("g.npy", "h.npy"));
  EXPECT_EQ(RunQuery("1000"), 4);
  EXPECT_EQ(ReadNpyMatrix(Path("g.npy"))->rows(), 500);
  EXPECT_EQ(Run({"estimate", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "1000"}), 4);
  EXPECT_THAT(out_.str(), HasSubstr("628 of batch size 64"));
  EXPECT_THAT(err_.str(), HasSubstr("connection lost"));
  // A refusal midway (a budget) is one still; too few gradients for any estimate leave the error alone.
  oracle_.failure = MakeError(absl::StatusCode::kResourceExhausted, "BUDGET_SPENT", "count", "count: budget spent");
  EXPECT_EQ(RunEstimate({}), 3);
  EXPECT_EQ(Json()["gradients"], 628);  // the pilot's 128, and 500
  oracle_.fail_after = -1;
  oracle_.after_block = [this](int64_t) { oracle_.fail_after = 0; };  // the second request
  EXPECT_EQ(RunEstimate({"--estimator", "warm_up"}), 3);
  EXPECT_THAT(Keys(Json()), ElementsAre("error"));
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
  EXPECT_EQ(Json()["error"]["reason"], "NPY_UNWRITABLE");
  EXPECT_EQ(Json()["error"]["field"], "out");
  EXPECT_FALSE(oracle_.asked);
  EXPECT_EQ(RunEstimate({"--gradients-out", "/nonexistent/g.npy"}), 2);
  EXPECT_EQ(Json()["error"]["field"], "gradients_out");
  EXPECT_EQ(Run({"query", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "9", "--out",
                 "/nonexistent/g.npy", "--json"}),
            2);
  EXPECT_EQ(Json()["error"]["field"], "out");
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
  EXPECT_EQ(Json()["error"]["reason"], "NPY_NOT_FOUND");
  EXPECT_EQ(Json()["error"]["field"], "from");
  EXPECT_EQ(Run({"--frobnicate", "--json"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "USAGE");
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

// Catches: a reason missing where the transport only said CANCELLED: scripts tell Ctrl-C by INTERRUPTED.
TEST_F(CliProgram, CtrlCIsTheReasonWhateverTheTransportSays) {
  interrupted_ = true;
  oracle_.info_status = absl::CancelledError("cancelled");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"info", "--oracle", "h:1", "--json"},
        {"query", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "9", "--out", Path("g.npy"),
         "--json"},
        {"estimate", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "9", "--json"}}) {
    EXPECT_EQ(Run(words), 130) << words.front();
    EXPECT_EQ(Json()["error"]["code"], "CANCELLED") << words.front();
    EXPECT_EQ(Json()["error"]["reason"], "INTERRUPTED") << words.front();
  }
  // Cancelled by somebody else: not ours to explain.
  interrupted_ = false;
  EXPECT_EQ(Run({"info", "--oracle", "h:1", "--json"}), 1);
  EXPECT_FALSE(Json()["error"].contains("reason") && Json()["error"]["reason"] == "INTERRUPTED");
}

// Catches: weights written over by the result of the same command, under another name for the same file too.
TEST_F(CliProgram, TheWeightsAreNotWrittenOver) {
  ASSERT_TRUE(WriteNpyVector(Path("w.npy"), Eigen::VectorXd::Zero(kDimension)).ok());
  const std::string again = folder_ + "/./w.npy";
  for (const std::string verb : {"query", "estimate"}) {
    for (const std::string& out : {Path("w.npy"), again}) {
      EXPECT_EQ(Run({verb, "--oracle", "h:1", "--weights", Path("w.npy"), "--batch-size", "64", "--count", "100",
                     "--out", out, "--json"}),
                2);
      EXPECT_EQ(Json()["error"]["reason"], "SAME_FILE") << verb;
      EXPECT_EQ(Json()["error"]["field"], "weights") << verb;
    }
  }
  EXPECT_EQ(RunEstimate({"--gradients-out", Path("g.npy"), "--out", Path("g.npy")}), 2);
  EXPECT_EQ(Json()["error"]["field"], "gradients_out");
  EXPECT_FALSE(oracle_.asked);
  EXPECT_EQ(ReadNpyVector(Path("w.npy"))->size(), kDimension);
}

// Catches: trimming, which scales heavy-tailed directions down, without a word. An imposed diagonal mends the scale.
TEST_F(CliProgram, TrimmingWithoutTheUnitDiagonalWarns) {
  ASSERT_EQ(RunEstimate({"--trim", "0.05"}), 0);
  EXPECT_GT(Json()["trimmed"], 0);
  EXPECT_FALSE(Json().contains("bias_warning"));
  ASSERT_EQ(RunEstimate({"--trim", "0.05", "--no-unit-diagonal"}), 0);
  EXPECT_THAT(std::string(Json()["bias_warning"]), HasSubstr("gradients were left out"));
  oracle_.info.scaling = "raw";
  ASSERT_EQ(RunEstimate({"--trim", "0.05"}), 0);
  EXPECT_THAT(std::string(Json()["bias_warning"]), HasSubstr("gradients were left out"));
}

// Catches: gradients paid for before it is said that they are too few to shrink.
TEST_F(CliProgram, TooFewGradientsToShrinkAreNotAskedFor) {
  EXPECT_EQ(RunEstimate({"--shrinkage", "nonlinear"}, "12"), 2);
  EXPECT_EQ(Json()["error"]["reason"], "TOO_FEW_GRADIENTS");
  EXPECT_THAT(Json()["error"]["message"], HasSubstr("at least 13"));
  EXPECT_FALSE(oracle_.asked);
  EXPECT_EQ(RunEstimate({"--shrinkage", "nonlinear"}, "13"), 0);
}

}  // namespace
}  // namespace gradoracle
