// `gradoracle budget`, and what a budget tells of the data.
#include "core/accountant/label_privacy.h"
#include "tests/client/cli_program.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class CliBudget : public CliProgram {
 protected:
  CliBudget() {
    budget_->limit = 10000;
    budget_->spent = 400;
  }
};

// Catches: a key renamed; predictions, which take time, without being asked for.
TEST_F(CliBudget, TellsTheLimitAndWhatIsSpent) {
  EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--json"}), 0);
  EXPECT_EQ(Json(),
            nlohmann::ordered_json::parse(R"({"limit": 10000, "spent": 400, "remaining": 9600, "unit": "gradients"})"));
  EXPECT_EQ(Run({"budget", "--oracle", "h:1"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("remaining  9600"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("curvature")));
}

// Catches: a prediction that does not follow theory 1.2, E||C_hat - C|| / ||C|| = (1 + sqrt(d/m))^2 - 1 and less for a
// flat spectrum; one that grows with the count; a number without what it assumes.
TEST_F(CliBudget, TellsWhatTheGradientsTell) {
  oracle_.info.limits.max_weights_norm = 1e-3;  // no slopes: watching alone
  EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--leakage", "--json"}), 0);
  const nlohmann::ordered_json accountant = Json()["accountant"];
  ASSERT_EQ(accountant["curve"].size(), 2u);
  EXPECT_EQ(accountant["curve"][0]["gradients"], 400);
  EXPECT_EQ(accountant["curve"][1]["gradients"], 10000);
  for (const nlohmann::ordered_json& point : accountant["curve"]) {
    const double count = point["gradients"].get<double>();
    const double error = point["relative_error"].get<double>();
    EXPECT_LT(error, 2 * std::sqrt(kDimension / count) + kDimension / count);
    EXPECT_GT(error, 0.3 * std::sqrt(kDimension / count));
    EXPECT_LT(point["interval"][0].get<double>(), error);
    EXPECT_GT(point["interval"][1].get<double>(), error);
  }
  EXPECT_FALSE(accountant["assumptions"].empty());
  EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--leakage"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("after 400 gradients known to"));
  EXPECT_THAT(out_.str(), HasSubstr("assumed: "));
  EXPECT_THAT(out_.str(), HasSubstr("no epsilon: "));
}

// Catches: an epsilon of another formula, or one where the scale looks at the labels.
TEST_F(CliBudget, TellsTheEpsilonOfALabelWhereThereIsOne) {
  const std::vector<std::string> words = {"budget", "--oracle", "h:1", "--leakage", "--label-width", "2", "--json"};
  EXPECT_EQ(Run(words), 0);
  EXPECT_FALSE(Json()["label_privacy"]["applicable"].get<bool>());
  oracle_.info.scaling = std::string(64, 'a');  // of a published file
  oracle_.info.noise.rule = NoiseRule::kFixed;
  oracle_.info.noise.injected_variance = 5000;
  oracle_.info.sampling = Sampling::kShuffledEpochs;
  oracle_.info.defence.max_participation = 50;
  oracle_.info.defence.reply_grid = 0.25;
  EXPECT_EQ(Run(words), 0);
  const nlohmann::ordered_json account = Json()["label_privacy"];
  ASSERT_TRUE(account["applicable"].get<bool>()) << account;
  EXPECT_DOUBLE_EQ(account["curve"][1]["epsilon"].get<double>(), AccountLabels(2, 5000, 50, 1e-5)->epsilon);
  EXPECT_FALSE(account["assumptions"].empty());
}

TEST_F(CliBudget, SaysWhyThereIsNoPrediction) {
  const auto reason = [&] {
    EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--leakage", "--json"}), 0);
    EXPECT_FALSE(Json()["accountant"]["applicable"].get<bool>());
    return Json()["accountant"].value("reason", "");
  };
  oracle_.info.scaling = "raw";
  EXPECT_THAT(reason(), HasSubstr("raw units"));
  oracle_.info.scaling = "standardised";
  oracle_.info.noise.isotropic = true;
  EXPECT_THAT(reason(), HasSubstr("does not tell its variance"));
  oracle_.info.noise.isotropic = false;
  oracle_.info.dimension = 513;
  EXPECT_THAT(reason(), HasSubstr("512 features"));
}

TEST_F(CliBudget, BadInputIsRefused) {
  EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--label-width", "2", "--json"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "LEAKAGE_REQUIRED");
  EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--leakage", "--privacy-delta", "1", "--json"}), 2);
  EXPECT_EQ(Json()["error"]["field"], "privacy_delta");
  budget_ = MakeError(absl::StatusCode::kPermissionDenied, "NO_ACCOUNT", "", "no budget");
  EXPECT_EQ(Run({"budget", "--oracle", "h:1", "--leakage", "--json"}), 3);
  EXPECT_THAT(Files(), ElementsAre());
}

}  // namespace
}  // namespace gradoracle
