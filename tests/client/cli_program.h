#ifndef GRADORACLE_TESTS_CLIENT_CLI_PROGRAM_H_
#define GRADORACLE_TESTS_CLIENT_CLI_PROGRAM_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/run_program.h"
#include "core/errors.h"
#include "core/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/estimation/gaussian_gradients.h"

// The whole program in process, with an oracle that lives in the test.
namespace gradoracle {

inline constexpr int64_t kDimension = 4;
inline constexpr int64_t kBlock = 100;

// Answers from a seeded generator, in blocks of 100, until told otherwise.
class ScriptedOracle : public GradientSource {
 public:
  OracleInfo info;
  absl::Status info_status;
  int64_t fail_after = -1;  // gradients; -1: never
  absl::Status failure = absl::UnavailableError("connection lost");
  std::function<void(int64_t done)> after_block = [](int64_t) {};
  double scale = 1;  // of every gradient
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
      if (absl::Status status = sink(scale * StandardNormal(generator, length, kDimension)); !status.ok())
        return status;
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
        .connect = [this](const std::string&, const ConnectionSettings&)
            -> absl::StatusOr<std::unique_ptr<GradientSource>> { return std::make_unique<Lent>(oracle_); },
        .connect_for_budget = [this](const std::string&, const ConnectionSettings&) -> absl::StatusOr<BudgetSource> {
          return [this] { return budget_; };
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

  // estimate --from `file`, as JSON.
  int RunFrom(const std::string& file, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"estimate", "--from", file, "--batch-size", "64", "--total-noise-variance",
                                      "64",       "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return Run(words);
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
  absl::StatusOr<Budget> budget_ = Budget();
  std::atomic<bool> interrupted_{false};
  std::ostringstream out_, err_;
  std::string folder_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_CLIENT_CLI_PROGRAM_H_
