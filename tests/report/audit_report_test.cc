#include "client/report/audit_report.h"

#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/report/json_schema.h"
#include "client/report/report_assets.h"
#include "client/report/report_page.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string ExamplePath(const std::string& name) {
  return absl::StrCat(GRADORACLE_SOURCE_DIR, "/tests/report/data/", name, ".json");
}

Json Example(const std::string& name) { return Json::parse(ReadFile(ExamplePath(name))); }

// The text between the first `begin` and the next `end` after it.
std::string Between(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  EXPECT_NE(from, std::string::npos) << begin;
  const size_t to = text.find(end, from + begin.size());
  EXPECT_NE(to, std::string::npos) << end;
  return text.substr(from + begin.size(), to - from - begin.size());
}

std::vector<std::string> AllBetween(const std::string& text, const std::string& begin, const std::string& end) {
  std::vector<std::string> found;
  for (size_t from = text.find(begin); from != std::string::npos; from = text.find(begin, from)) {
    from += begin.size();
    found.push_back(text.substr(from, text.find(end, from) - from));
  }
  return found;
}

class AuditReport : public ::testing::Test {
 protected:
  AuditReport()
      : folder_(::testing::TempDir() + "audit_report_" +
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
  }
  ~AuditReport() override { std::filesystem::remove_all(folder_); }

  const std::string folder_;
};

// Catches: a schema keyword that the checker passes over in silence, so that the published schema forbids more than the
// program does.
TEST(ReportSchema, UsesOnlyKeywordsThatAreChecked) {
  EXPECT_EQ(UnknownSchemaKeyword(Json::parse(kAuditReportSchemaText)), "");
  EXPECT_EQ(UnknownSchemaKeyword(Json{{"items", {{"pattern", "a"}}}}), "pattern");
  EXPECT_EQ(UnknownSchemaKeyword(Json{{"properties", {{"a", {{"anyOf", Json::array()}}}}}}), "anyOf");
  EXPECT_EQ(UnknownSchemaKeyword(Json{{"additionalProperties", false}}), "additionalProperties");
}

TEST(ReportSchema, ExamplesFit) {
  for (const char* name : {"full", "minimal", "hostile"})
    EXPECT_EQ(CheckAuditReport(Example(name)), absl::OkStatus()) << name;
}

struct Misfit {
  const char* pointer;  // what is replaced in full.json
  Json value;           // discarded: the key is removed
  const char* field;
  const char* message;
};

// Catches: errors that do not name the value to blame, and values that would break the page or its scales.
TEST(ReportSchema, NamesTheFieldToBlame) {
  const Json remove(Json::value_t::discarded);
  const Misfit misfits[] = {
      {"/verdict", remove, "verdict", "is missing"},
      {"/verdict", "", "verdict", "must not be empty"},
      {"/verdict", 7, "verdict", "verdict is 7, but must be of type string"},
      {"/mode", "guess", "mode", "must be one of [\"simulation\",\"oracle\",\"recording\"]"},
      {"/strongest/2/relative_error", "0.3", "strongest[2].relative_error", "must be of type number or null"},
      {"/strongest/2/relative_error", -0.1, "strongest[2].relative_error", "must be at least 0"},
      {"/strongest/0/gradients", 0, "strongest[0].gradients", "is 0, but must be at least 1"},
      {"/strongest/0/gradients", 1.5, "strongest[0].gradients", "is 1.5, but must be of type integer"},
      {"/strongest/1/interval", Json::array({0.1}), "strongest[1].interval", "has 1 items, but must have at least 2"},
      {"/strongest/1/interval", Json::array({0.1, 0.2, 0.3}), "strongest[1].interval", "at most 2"},
      {"/strongest/1/relative_error", std::numeric_limits<double>::quiet_NaN(), "strongest[1].relative_error",
       "finite"},
      {"/strongest/1/relative_error", std::numeric_limits<double>::infinity(), "strongest[1].relative_error", "finite"},
      {"/attacks/3/curve/1/gradients", remove, "attacks[3].curve[1].gradients", "is missing"},
      {"/findings/support_leak/found", "yes", "findings.support_leak.found", "boolean or null"},
      {"/findings/invented", Json{{"found", true}}, "findings.invented.evidence", "is missing"},
      {"/alignment/0/overlap", 1.5, "alignment[0].overlap", "at most"},
      {"/dataset", Json::array(), "dataset", "must be of type object"},
      {"/defences/0/cells/0/attack", nullptr, "defences[0].cells[0].attack", "is null, but must be of type string"},
      {"/recommended_budget", -1, "recommended_budget", "at least 0"}};
  for (const Misfit& misfit : misfits) {
    Json report = Example("full");
    const Json::json_pointer pointer(misfit.pointer);
    if (misfit.value.is_discarded()) {
      report.at(pointer.parent_pointer()).erase(pointer.back());
    } else {
      report[pointer] = misfit.value;
    }
    const absl::Status status = CheckAuditReport(report);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << misfit.pointer;
    EXPECT_EQ(ErrorReason(status), "REPORT_INVALID") << misfit.pointer;
    EXPECT_EQ(ErrorField(status), misfit.field) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(misfit.message)) << misfit.pointer;
  }
}

TEST(ReportSchema, AllowsWhatItDoesNotKnow) {
  Json report = Example("minimal");
  report["remarks"] = {{"anything", 1}};
  report["strongest"][0]["seconds"] = 3.0;
  EXPECT_EQ(CheckAuditReport(report), absl::OkStatus());
}

TEST(ReportSchema, KnowsOneVersion) {
  Json report = Example("minimal");
  report["schema"] = "gradoracle-audit/2";
  EXPECT_EQ(ErrorReason(CheckAuditReport(report)), "REPORT_VERSION");
  report.erase("schema");
  EXPECT_EQ(ErrorField(CheckAuditReport(report)), "schema");
  EXPECT_EQ(ErrorField(CheckAuditReport(Json::array())), "report");
}

// Catches: a value that ends its script element or begins a comment, and JSON that is no longer the same.
TEST(ReportPage, JsonInAScriptIsInert) {
  const Json value = {{"</script>", "<!-- <script> & \xe2\x80\xa8 \x01"}};
  const std::string json = ScriptSafeJson(value);
  for (const char forbidden : {'<', '>', '&'}) EXPECT_EQ(json.find(forbidden), std::string::npos) << json;
  for (const char byte : json) EXPECT_LT(static_cast<unsigned char>(byte), 0x80);
  EXPECT_EQ(Json::parse(json), value);
  EXPECT_EQ(ScriptSafeJson("\xff"), "\"\\ufffd\"");
}

TEST(ReportPage, EscapesHtml) { EXPECT_EQ(EscapeHtml("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"); }

// SHA-256 of the empty text, known from FIPS 180.
TEST(ReportPage, HashesAsPoliciesDo) {
  EXPECT_EQ(PolicyHash(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
}

// Catches: a script or style that the policy does not name (it would not run), and a policy that allows more than
// these.
TEST(ReportPage, PolicyAllowsExactlyItsOwnScripts) {
  const std::string page = ReportPage(Example("full"));
  const std::string policy = Between(page, "http-equiv=\"Content-Security-Policy\" content=\"", "\">");
  std::string scripts;
  for (const std::string& script : AllBetween(page, "<script>", "</script>"))
    absl::StrAppend(&scripts, " ", PolicyHash(script));
  EXPECT_EQ(policy,
            absl::StrCat("default-src 'none'; script-src", scripts, "; style-src ",
                         PolicyHash(Between(page, "<style>", "</style>")), "; base-uri 'none'; form-action 'none'"));
  EXPECT_EQ(AllBetween(page, "<script>", "</script>").size(), 6u);
  EXPECT_EQ(AllBetween(page, "<script", ">").size(), 8u);  // and two of data
  EXPECT_LT(page.find("Content-Security-Policy"), page.find("<style>"));
  EXPECT_LT(page.size(), 1100000u);
}

// Catches: anything that could leave the file: the page holds no address to load from and no inline handler.
TEST(ReportPage, TemplateLoadsNothing) {
  for (const char* forbidden : {"src=", "href=", "onload", "url(", "@import"}) {
    EXPECT_THAT(std::string(kReportTemplate), Not(HasSubstr(forbidden)));
    EXPECT_THAT(std::string(kReportStyle), Not(HasSubstr(forbidden)));
  }
  for (const absl::string_view script : {kReportScript, kReportChartsScript, kReportWordsScript}) {
    for (const char* forbidden :
         {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("}) {
      EXPECT_THAT(std::string(script), Not(HasSubstr(forbidden)));
    }
  }
}

// Catches: markup in values. Every tag of the page is there whatever the values are, and none more; places of the
// template inside values stay text.
TEST(ReportPage, HostileValuesAddNoMarkup) {
  const std::string tame = ReportPage(Example("full"));
  const std::string hostile = ReportPage(Example("hostile"));
  EXPECT_EQ(AllBetween(hostile, "<", "").size(), AllBetween(tame, "<", "").size());
  EXPECT_THAT(hostile, HasSubstr("{{policy}}"));
  EXPECT_EQ(Json::parse(Between(hostile, "id=\"report\">", "</script>")), Example("hostile"));
}

TEST(ReportPage, HoldsTheVerdictWithoutScripts) {
  Json report = Example("full");
  report["verdict"] = "3 < 4 \xff";
  EXPECT_EQ(Between(ReportPage(report), "<h1 id=\"verdict\">", "</h1>"), "3 &lt; 4 \xef\xbf\xbd");
}

TEST_F(AuditReport, WritesBothFilesAndReadsThemAgain) {
  const Json report = Example("full");
  ASSERT_EQ(WriteAuditReport(report, folder_ + "/deep/er"), absl::OkStatus());
  const absl::StatusOr<Json> read = ReadAuditReport(folder_ + "/deep/er/report.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, report);
  EXPECT_EQ(ReadFile(folder_ + "/deep/er/report.html"), *RenderAuditReport(report));
  const std::filesystem::directory_iterator files(folder_ + "/deep/er");
  EXPECT_EQ(std::distance(begin(files), end(files)), 2) << "temporary files were left";
}

// Catches: half a result. What was there stays when the new report is wrong, or one of its files cannot be written.
TEST_F(AuditReport, KeepsTheOldReportWhenTheNewOneFails) {
  ASSERT_EQ(WriteAuditReport(Example("minimal"), folder_), absl::OkStatus());
  const std::string before = ReadFile(folder_ + "/report.json");
  Json wrong = Example("full");
  wrong["budget"] = 0;
  EXPECT_EQ(ErrorReason(WriteAuditReport(wrong, folder_)), "REPORT_INVALID");
  EXPECT_EQ(ReadFile(folder_ + "/report.json"), before);

  const absl::Status no_folder = WriteAuditReport(Example("full"), folder_ + "/report.json");
  EXPECT_EQ(ErrorReason(no_folder), "REPORT_UNWRITABLE");
  EXPECT_EQ(ErrorField(no_folder), "out");
  EXPECT_EQ(ReadFile(folder_ + "/report.json"), before);
  EXPECT_EQ(ErrorReason(WriteReportPage("page", folder_ + "/absent/page.html")), "REPORT_UNWRITABLE");
  EXPECT_EQ(ErrorReason(WriteReportPage("page", folder_)), "REPORT_UNWRITABLE");
}

TEST_F(AuditReport, SaysWhyAFileIsNoReport) {
  std::filesystem::create_directories(folder_);
  const auto read = [this](const std::string& bytes) {
    const std::string path = folder_ + "/report.json";
    std::ofstream(path, std::ios::binary) << bytes;
    const absl::Status status = ReadAuditReport(path).status();
    EXPECT_TRUE(absl::StartsWith(status.message(), path)) << status;
    return status;
  };
  EXPECT_EQ(ErrorReason(read("")), "REPORT_NOT_JSON");
  EXPECT_EQ(ErrorReason(read("{\"schema\": ")), "REPORT_NOT_JSON");
  EXPECT_EQ(ErrorReason(read("\xff\xfe")), "REPORT_NOT_JSON");
  EXPECT_EQ(ErrorReason(read(std::string(100000, '['))), "REPORT_NOT_JSON");
  EXPECT_EQ(ErrorReason(read(std::string(65, '[') + std::string(65, ']'))), "REPORT_NOT_JSON");
  EXPECT_EQ(ErrorReason(read(std::string(64, '[') + std::string(64, ']'))), "REPORT_INVALID");
  EXPECT_EQ(ErrorReason(read("{\"schema\": \"other\"}")), "REPORT_VERSION");
  EXPECT_EQ(ErrorField(read("{\"schema\": \"gradoracle-audit/1\"}")), "verdict");

  const absl::Status absent = ReadAuditReport(folder_ + "/none.json").status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(absent), "REPORT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(ReadAuditReport(folder_).status()), "REPORT_UNREADABLE");
}

}  // namespace
}  // namespace gradoracle
