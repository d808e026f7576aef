// `gradoracle audit`: flags, the gate, the files, interruption.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli_program.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

class CliAudit : public CliProgram {
 protected:
  void SetUp() override {
    CliProgram::SetUp();
    std::mt19937_64 generator(1);
    std::normal_distribution<double> normal;
    std::ofstream file(Path("data.csv"));
    file << "a,b,c,y\n";
    for (int i = 0; i < 120; ++i) {
      const double a = normal(generator), b = a / 2 + normal(generator), c = normal(generator);
      file << a << "," << b << "," << c << "," << a - c + normal(generator) << "\n";
    }
  }

  int RunAudit(const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        "audit", "--data", Path("data.csv"), "--batch-size", "64", "--budget", "500", "--repetitions", "2", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return Run(words);
  }

  nlohmann::json Report(const std::string& folder) const {
    std::ifstream file(Path(folder) + "/report.json");
    return nlohmann::json::parse(file);
  }
};

TEST_F(CliAudit, WritesTheReportAndItsPage) {
  ASSERT_EQ(RunAudit({"--out", Path("out")}), 0) << err_.str();
  const nlohmann::json report = Report("out");
  EXPECT_EQ(nlohmann::json(Json()), report);
  EXPECT_EQ(report["schema"], "gradoracle-audit/1");
  EXPECT_EQ(report["mode"], "simulation");
  EXPECT_EQ(report["dataset"]["dimension"], 3);
  EXPECT_EQ(report["complete"], true);
  EXPECT_THAT(report["reproduce"][0].get<std::string>(), HasSubstr("--batch-size 64 --budget 500"));
  for (const char* finding :
       {"support_leak", "row_reconstruction", "batch_recovery", "miscalibration", "differencing", "weights_norm"}) {
    EXPECT_TRUE(report["findings"][finding]["evidence"].contains("sentence")) << finding;
  }
  std::ifstream page(Path("out") + "/report.html");
  EXPECT_TRUE(page.good());
  // The same again finds everything done, and says the same.
  ASSERT_EQ(RunAudit({"--out", Path("out")}), 0);
  nlohmann::json again = Report("out");
  again["seconds"] = report["seconds"];
  again["created"] = report["created"];
  EXPECT_EQ(again, report);
}

// Catches: reports that others on the machine can read, also where an older file was open to all.
TEST_F(CliAudit, FilesAreTheirOwnersAlone) {
  std::filesystem::create_directories(Path("out"));
  const mode_t before = umask(0);
  std::ofstream(Path("out") + "/report.json") << "{}";
  const int exit_code = RunAudit({"--out", Path("out")});
  umask(before);
  ASSERT_EQ(exit_code, 0) << err_.str();
  for (const char* name : {"report.json", "report.html", "audit.state.json"}) {
    EXPECT_EQ(std::filesystem::status(Path("out") + "/" + name).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << name;
  }
  ASSERT_EQ(Run({"report", Path("out") + "/report.json", "--out", Path("again.html")}), 0) << err_.str();
  EXPECT_EQ(std::filesystem::status(Path("again.html")).permissions() & std::filesystem::perms::others_read,
            std::filesystem::perms::none);
}

// The accountants' part, and every flag of the server's defences by the server's name.
TEST_F(CliAudit, PrintsWhatTheAccountantsSay) {
  ASSERT_EQ(RunAudit({"--out", Path("out")}), 0) << err_.str();
  nlohmann::json report = Report("out");
  ASSERT_EQ(report["accountant"]["curve"].size(), report["strongest"].size());
  EXPECT_FALSE(report["accountant"]["assumptions"].empty());
  EXPECT_THAT(report["accountant"]["agreement"].get<std::string>(), HasSubstr("measured errors"));
  EXPECT_EQ(report["label_privacy"]["applicable"], false);
  EXPECT_THAT(report["label_privacy"]["reason"].get<std::string>(), HasSubstr("standardised by its own labels"));
  EXPECT_FALSE(report["label_privacy"].contains("curve"));
  EXPECT_EQ(report["gradient_privacy"]["applicable"], false);

  const std::vector<std::string> fixed = {"--no-standardise",
                                          "--noise-rule",
                                          "fixed",
                                          "--noise-variance",
                                          "64",
                                          "--out",
                                          Path("out"),
                                          "--sampling",
                                          "shuffled_epochs",
                                          "--batch-size",
                                          "32",
                                          "--max-participation",
                                          "40",
                                          "--reply-grid",
                                          "0.0009765625"};
  const auto audit = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"audit",         "--data", Path("data.csv"), "--budget", "100",
                                      "--repetitions", "1",      "--json"};
    words.insert(words.end(), fixed.begin(), fixed.end());
    words.insert(words.end(), more.begin(), more.end());
    return Run(words);
  };
  ASSERT_EQ(audit({}), 0) << err_.str();
  report = Report("out");
  EXPECT_THAT(report["label_privacy"]["reason"].get<std::string>(), HasSubstr("--label-width"));
  ASSERT_EQ(audit({"--label-width", "2", "--privacy-delta", "1e-6"}), 0) << err_.str();
  report = Report("out");
  ASSERT_EQ(report["label_privacy"]["applicable"], true);
  EXPECT_EQ(report["label_privacy"]["delta"], 1e-6);
  EXPECT_EQ(report["label_privacy"]["curve"][0]["rho"], 10 * 4.0 / (2 * 64));
  EXPECT_EQ(report["label_privacy"]["curve"][2]["rho"], 40 * 4.0 / (2 * 64)) << "no more uses than the cap";
  EXPECT_FALSE(report["label_privacy"]["assumptions"].empty());
  EXPECT_EQ(report["policy"]["defences"]["max_participation"], 40);

  ASSERT_EQ(RunAudit({"--out", Path("out"), "--sampling", "poisson", "--clip-norm", "2", "--gradient-noise-multiplier",
                      "1.5", "--no-publish-defences"}),
            0)
      << err_.str();
  report = Report("out");
  EXPECT_EQ(report["gradient_privacy"]["applicable"], true);
  EXPECT_EQ(report["policy"]["defences"]["clip_norm"], 2) << "the owner is told what callers are not";
}

// A floor ends the answers at the accountant's count: no attack may have more.
TEST_F(CliAudit, TheFloorCutsTheBudget) {
  ASSERT_EQ(RunAudit({"--out", Path("out"), "--curvature-floor", "0.02", "--max-weights-norm", "0.5",
                      "--max-batch-size", "64"}),
            0)
      << err_.str();
  const nlohmann::json report = Report("out");
  const int64_t last = report["strongest"].back()["gradients"].get<int64_t>();
  EXPECT_EQ(report["policy"]["max_gradients"], last);
  EXPECT_LT(last, 500);
  EXPECT_GE(report["accountant"]["curve"].back()["interval"][0].get<double>(), 0.02);
  EXPECT_EQ(RunAudit({"--out", Path("out"), "--curvature-floor", "2"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "CURVATURE_FLOOR_INVALID");
}

// Five hundred gradients get far below one half, and not to one in a million.
TEST_F(CliAudit, TheGateExitsFive) {
  EXPECT_EQ(RunAudit({"--out", Path("out"), "--fail-if-error-below", "0.5"}), 5);
  EXPECT_THAT(err_.str(), HasSubstr("--fail-if-error-below 0.5"));
  EXPECT_EQ(Json()["schema"], "gradoracle-audit/1");  // the report all the same
  EXPECT_EQ(RunAudit({"--out", Path("out"), "--fail-if-error-below", "0.000001"}), 0) << err_.str();
}

TEST_F(CliAudit, InterruptedWritesWhatItHas) {
  interrupted_ = true;
  EXPECT_EQ(RunAudit({"--out", Path("out"), "--budget", "300000", "--repetitions", "50"}), 2);  // given twice
  interrupted_ = true;
  EXPECT_EQ(Run({"audit", "--data", Path("data.csv"), "--batch-size", "64", "--budget", "300000", "--repetitions", "50",
                 "--out", Path("out"), "--json"}),
            130);
  EXPECT_EQ(Report("out")["complete"], false);
}

TEST_F(CliAudit, AsksAnOracleAndReadsRecordings) {
  ASSERT_EQ(
      Run({"audit", "--oracle", "h:1", "--batch-size", "64", "--budget", "200", "--out", Path("asked"), "--json"}), 0)
      << err_.str();
  EXPECT_TRUE(oracle_.asked);
  EXPECT_EQ(Report("asked")["mode"], "oracle");
  EXPECT_EQ(Report("asked")["repetitions"], 1);
  ASSERT_EQ(RunQuery("300"), 0);
  ASSERT_EQ(Run({"audit", "--from", Path("g.npy"), "--batch-size", "64", "--total-noise-variance", "64", "--out",
                 Path("recorded"), "--json"}),
            0)
      << err_.str();
  EXPECT_EQ(Report("recorded")["mode"], "recording");
  EXPECT_EQ(Report("recorded")["budget"], 300);
}

struct BadAudit {
  std::vector<std::string> words;
  std::string reason, field;
};

TEST_F(CliAudit, TellsWhatIsWrongWithTheFlags) {
  const std::string data = Path("data.csv");
  for (const BadAudit& bad : std::vector<BadAudit>{
           {{"audit", "--out", "x"}, "MISSING", "oracle"},
           {{"audit", "--data", data}, "MISSING", "out"},
           {{"audit", "--from", "g.npy", "--out", "x"}, "MISSING", "total_noise_variance"},
           {{"audit", "--data", data, "--budget", "many", "--out", "x"}, "NOT_AN_INTEGER", "budget"},
           {{"audit", "--data", data, "--budget", "5", "--out", Path("x")}, "AUDIT_BUDGET", "budget"},
           {{"audit", "--data", data, "--batch-size", "4", "--out", Path("x")}, "AUDIT_BATCH_SIZE", "batch_size"},
           {{"audit", "--data", data, "--noise-rule", "loud", "--out", Path("x")}, "NOISE_RULE_UNKNOWN", "noise_rule"},
           {{"audit", "--data", data, "--label-width", "-1", "--out", "x"}, "LABEL_WIDTH_NOT_POSITIVE", "label_width"},
           {{"audit", "--data", data, "--privacy-delta", "2", "--out", Path("x")},
            "PRIVACY_PARAMETER",
            "privacy_delta"},
           {{"audit", "--oracle", "h:1", "--curvature-floor", "0.1", "--out", Path("x")}, "SOURCE_CONFLICT", "oracle"},
           {{"audit", "--data", data, "--threads", "0", "--out", Path("x")}, "THREADS_OUT_OF_RANGE", "threads"},
           {{"audit", "--data", data, "--mask-variance", "thick", "--out", Path("x")}, "NOT_A_NUMBER", "mask_variance"},
           {{"audit", "--data", Path("none.csv"), "--out", Path("x")}, "DATA_NOT_FOUND", "data"},
           {{"audit", "--oracle", "h:1", "--from", "g.npy", "--out", Path("x")}, "SOURCE_CONFLICT", "from"},
           {{"audit", "--oracle", "h:1", "--max-count", "7", "--out", Path("x")}, "SOURCE_CONFLICT", "oracle"}}) {
    std::vector<std::string> words = bad.words;
    words.push_back("--json");
    EXPECT_EQ(Run(words), 2) << bad.reason;
    EXPECT_EQ(Json()["error"]["reason"], bad.reason) << err_.str();
    EXPECT_EQ(Json()["error"]["field"], bad.field) << err_.str();
  }
}

}  // namespace
}  // namespace gradoracle
