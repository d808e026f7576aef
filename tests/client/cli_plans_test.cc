// `plan`, and `estimate --target-error`.
#include "tests/client/cli_program.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

// Catches: a limit, which covers sampling only, taken for the whole error. The diagonal of a standardised oracle's
// estimate is too large by .4 here, and known to be: whatever the limit, nothing has been reached.
TEST_F(CliProgram, ABiasedEstimateReachesNoTarget) {
  oracle_.scale = std::sqrt(1.4);
  ASSERT_EQ(RunEstimate({"--target-error", "0.15"}, "20000"), 0);
  EXPECT_LE(Json()["relative_error"]["upper"], 0.15);
  EXPECT_THAT(std::string(Json()["bias_warning"]), HasSubstr("the residuals"));
  EXPECT_EQ(Json()["target_error"]["reached"], false);
  EXPECT_EQ(Json()["not_converged"].dump(), "[]");
  ASSERT_EQ(Run({"estimate", "--oracle", "h:1", "--weights", "zeros", "--batch-size", "64", "--count", "20000",
                 "--target-error", "0.15"}),
            0);
  EXPECT_THAT(out_.str(), HasSubstr("not reached: the estimate is biased"));
}

// Catches: a pilot cut short that exits 0, or an answer lost that was paid for.
TEST_F(CliProgram, CtrlCDuringThePilotPlansByWhatCame) {
  const std::vector<std::string> pilot = {"plan", "--oracle", "h:1",  "--batch-size", "64",    "--target-error",
                                          "0.1",  "--pilot",  "1000", "--weights",    "zeros", "--json"};
  oracle_.after_block = [this](int64_t done) { interrupted_ = done >= 300; };
  EXPECT_EQ(Run(pilot), 130);
  EXPECT_EQ(Json()["pilot"]["gradients"], 400);
  EXPECT_GT(Json()["gradients"]["optimistic"], 0);
  // Before the first gradient there is nothing to plan by.
  oracle_.fail_after = 0;
  oracle_.failure = absl::CancelledError("cancelled");
  EXPECT_EQ(Run(pilot), 130);
  EXPECT_EQ(Json()["error"]["reason"], "INTERRUPTED");
  // The pilot was complete: nothing is missing.
  oracle_.fail_after = -1;
  oracle_.after_block = [this](int64_t done) { interrupted_ = done >= 1000; };
  interrupted_ = false;
  EXPECT_EQ(Run(pilot), 0);
}

}  // namespace
}  // namespace gradoracle
