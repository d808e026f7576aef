#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/cli/run_program.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;

class ReportProgram : public ::testing::Test {
 protected:
  ReportProgram()
      : folder_(::testing::TempDir() + "report_program_" +
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::filesystem::copy_file(std::string(GRADORACLE_SOURCE_DIR) + "/tests/report/data/minimal.json",
                               folder_ + "/report.json");
  }
  ~ReportProgram() override { std::filesystem::remove_all(folder_); }

  int Run(std::vector<std::string> words) {
    out_.str("");
    err_.str("");
    words.insert(words.begin(), "report");
    Environment environment{.out = out_, .err = err_, .interrupted = interrupted_, .connect = nullptr};
    return RunProgram(words, environment);
  }

  const std::string folder_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::atomic<bool> interrupted_{false};
};

TEST_F(ReportProgram, WritesThePageBesideTheReport) {
  EXPECT_EQ(Run({folder_ + "/report.json"}), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("Without the owner's data"));
  EXPECT_GT(std::filesystem::file_size(folder_ + "/report.html"), 500000u);
}

TEST_F(ReportProgram, WritesWhereItIsTold) {
  EXPECT_EQ(Run({folder_ + "/report.json", "--out", folder_ + "/page.html", "--json"}), 0) << err_.str();
  const nlohmann::json json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json.at("page"), folder_ + "/page.html");
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/page.html"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/report.html"));
}

// Catches: a page written over the report it is made from, under whatever name, and errors that name no field.
TEST_F(ReportProgram, RefusesWhatCannotBe) {
  EXPECT_EQ(Run({}), 2);
  EXPECT_EQ(Run({folder_ + "/report.json", folder_ + "/report.json"}), 2);
  EXPECT_EQ(Run({folder_ + "/report.json", "--out", folder_ + "/./report.json"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("report.json"));
  EXPECT_EQ(Run({folder_ + "/none.json", "--json"}), 2);
  EXPECT_EQ(nlohmann::json::parse(out_.str()).at("error").at("reason"), "REPORT_NOT_FOUND");
  std::ofstream(folder_ + "/wrong.json") << R"({"schema": "gradoracle-audit/1", "verdict": 3})";
  EXPECT_EQ(Run({folder_ + "/wrong.json", "--json"}), 2);
  EXPECT_EQ(nlohmann::json::parse(out_.str()).at("error").at("reason"), "REPORT_INVALID");
}

// Catches: a verdict that takes over the terminal it is printed on.
TEST_F(ReportProgram, PrintsNoControlCharacters) {
  nlohmann::json report = nlohmann::json::parse(std::ifstream(folder_ + "/report.json"));
  report["verdict"] = "clear\x1b[2J\nend";
  std::ofstream(folder_ + "/report.json") << report;
  EXPECT_EQ(Run({folder_ + "/report.json"}), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("clear [2J end\n"));
}

}  // namespace
}  // namespace gradoracle
