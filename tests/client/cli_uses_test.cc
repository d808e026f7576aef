// `gradoracle train` and `risk`, the whole program in process, with oracles that live in the test.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/run_program.h"
#include "core/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/grids/grid_oracle.h"

namespace gradoracle {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Lends an oracle to the program; every connection draws from a stream of its own.
class Lent : public GradientSource {
 public:
  Lent(const LocalOracle& oracle, uint64_t seed, std::atomic<bool>& interrupted, int64_t interrupt_after)
      : source_(&oracle, SeededKeys(seed)), interrupted_(interrupted), interrupt_after_(interrupt_after) {}
  absl::StatusOr<OracleInfo> Info() override { return source_.Info(); }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    if (interrupt_after_ >= 0 && requests_++ >= interrupt_after_) interrupted_.store(true);
    return source_.Gradients(query, sink);
  }

 private:
  LocalGradientSource source_;
  std::atomic<bool>& interrupted_;
  int64_t interrupt_after_;
  int64_t requests_ = 0;
};

class CliUses : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("GRADORACLE_ORACLE");
    folder_ = ::testing::TempDir() + "/cli_uses_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    OracleOptions options;
    options.extra_noise_variances = {1};
    options.curvature_probe = true;
    oracles_["h:1"] = OrDie(LocalOracle::FromData(GaussianData(2000, 4, 10, 1), options));
    oracles_["h:2"] = OrDie(LocalOracle::FromData(GaussianData(2000, 5, 10, 2), options));
  }

  int Run(std::vector<std::string> words) {
    out_.str("");
    err_.str("");
    interrupted_.store(false);
    Environment environment{
        .out = out_,
        .err = err_,
        .interrupted = interrupted_,
        .connect = [this](const std::string& target,
                          const ConnectionSettings&) -> absl::StatusOr<std::unique_ptr<GradientSource>> {
          return std::make_unique<Lent>(*oracles_.at(target), 1, interrupted_, interrupt_after_);
        }};
    return RunProgram(words, environment);
  }
  int Train(std::vector<std::string> more) {
    std::vector<std::string> words = {"train", "--oracle", "h:1",   "--batch-size",
                                      "128",   "--json",   "--out", Path("w.npy")};
    words.insert(words.end(), more.begin(), more.end());
    return Run(words);
  }
  nlohmann::ordered_json Json() const { return nlohmann::ordered_json::parse(out_.str()); }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  std::map<std::string, std::unique_ptr<LocalOracle>> oracles_;
  std::string folder_;
  std::ostringstream out_, err_;
  std::atomic<bool> interrupted_{false};
  int64_t interrupt_after_ = -1;
};

// Would catch: a key of the contract gone, weights not written, a record without its points.
TEST_F(CliUses, TrainWritesWeightsAndRecord) {
  ASSERT_EQ(Train({"--method", "mixed", "--target-excess-risk", "0.002", "--record", Path("r.csv")}), 0) << err_.str();
  const nlohmann::ordered_json json = Json();
  for (const char* key : {"method", "steps", "gradients", "gradient_norm", "seconds"}) EXPECT_TRUE(json.contains(key));
  EXPECT_EQ(json["method"], "mixed");
  EXPECT_LE(json["excess_risk"]["estimate"], 0.002);
  EXPECT_GE(json["excess_risk"]["upper"], json["excess_risk"]["estimate"]);
  const Eigen::VectorXd weights = OrDie(ReadNpyVector(Path("w.npy")));
  EXPECT_LT(ExcessRiskOf(*oracles_["h:1"], weights), 0.008);
  std::ifstream record(Path("r.csv"));
  std::string header, line;
  std::getline(record, header);
  EXPECT_EQ(header, "steps,gradients,gradient_norm,step_size,excess_risk,excess_risk_upper");
  EXPECT_TRUE(static_cast<bool>(std::getline(record, line)));

  ASSERT_EQ(Train({"--count", "400", "--record", Path("r.json")}), 0) << err_.str();
  EXPECT_LE(Json()["gradients"], 400);
  EXPECT_TRUE(nlohmann::json::parse(std::ifstream(Path("r.json"))).is_array());
}

// Would catch: weights lost on Ctrl-C, or another exit code than 130.
TEST_F(CliUses, TrainKeepsTheWeightsOnInterrupt) {
  interrupt_after_ = 20;
  EXPECT_EQ(Train({"--target-excess-risk", "1e-9"}), 130);
  EXPECT_EQ(Json()["stopped"], "interrupted");
  EXPECT_EQ(OrDie(ReadNpyVector(Path("w.npy"))).size(), 4);
}

// Would catch: a usage error sent to the oracle, a refusal taken for a usage error, a file left behind.
TEST_F(CliUses, TrainSaysWhatIsWrong) {
  EXPECT_EQ(Train({"--oracle", "h:2"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "ORACLES_DISAGREE");
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("h:1"), HasSubstr("h:2"), HasSubstr("dimension 4 and 5")));
  EXPECT_EQ(Train({"--method", "adam"}), 2);
  EXPECT_EQ(Train({"--target-excess-risk", "-1"}), 2);
  EXPECT_EQ(Train({"--record", Path("r.txt")}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "RECORD_FORMAT_UNKNOWN");
  EXPECT_EQ(Train({"--method", "mixed", "--count", "5"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "COUNT_TOO_SMALL");
  EXPECT_EQ(Run({"train", "--oracle", "h:1", "--batch-size", "8", "--json", "--out", Path("w.npy")}), 3);
  EXPECT_EQ(Json()["error"]["field"], "batch_size");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

// Would catch: a key of the contract gone, or an interval that is no pair around its value.
TEST_F(CliUses, RiskPrintsValuesWithIntervals) {
  ASSERT_EQ(Run({"risk", "--oracle", "h:1", "--weights", "zeros", "--radius", "0.1", "--norm", "linf", "--batch-size",
                 "128", "--count", "1000", "--json"}),
            0)
      << err_.str();
  const nlohmann::ordered_json json = Json();
  for (const std::string key : {"adversarial_risk", "standard_risk", "excess_risk", "residual_variance"}) {
    EXPECT_LE(json[key + "_interval"][0], json[key]);
    EXPECT_GE(json[key + "_interval"][1], json[key]);
  }
  EXPECT_EQ(json["standard_risk"], 1.0);  // of w = 0 on standardised data
  EXPECT_EQ(json["adversarial_risk"], json["adversarial_risk_interval"][1].get<double>());
}

// Would catch: bad input that reaches the oracle, or is not explained.
TEST_F(CliUses, RiskSaysWhatIsWrong) {
  const auto risk = [&](const std::string& count, const std::string& radius, const std::string& norm) {
    return Run({"risk", "--oracle", "h:1", "--weights", "zeros", "--radius", radius, "--norm", norm, "--batch-size",
                "128", "--count", count, "--json"});
  };
  EXPECT_EQ(risk("1", "0.1", "l2"), 2);
  EXPECT_THAT(err_.str(), HasSubstr("at least 64"));
  EXPECT_EQ(risk("1000", "0.1", "l1"), 2);
  EXPECT_EQ(risk("1000", "-1", "l2"), 2);
  WriteNpyVector(Path("wrong.npy"), Eigen::VectorXd::Zero(3)).IgnoreError();
  EXPECT_EQ(Run({"risk", "--oracle", "h:1", "--weights", Path("wrong.npy"), "--radius", "0", "--batch-size", "128",
                 "--count", "1000", "--json"}),
            3);
  EXPECT_EQ(Json()["error"]["reason"], "WEIGHTS_DIMENSION");
  interrupt_after_ = 1;
  EXPECT_EQ(risk("1000", "0.1", "l2"), 130);
}

// Would catch: a record that cannot be written found when the gradients are spent, or blamed on the oracle.
TEST_F(CliUses, TheRecordIsOpenedBeforeTraining) {
  interrupt_after_ = 0;  // any request would end in 130
  EXPECT_EQ(Train({"--record", "/nonexistent/r.csv"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "RECORD_UNWRITABLE");
  EXPECT_EQ(Json()["error"]["field"], "record");
  EXPECT_EQ(Json()["error"]["code"], "INVALID_ARGUMENT");
  std::filesystem::create_directories(Path("r.csv"));
  EXPECT_EQ(Train({"--record", Path("r.csv")}), 2);
  EXPECT_EQ(Run({"train", "--oracle", "h:1", "--batch-size", "128", "--json", "--out", "/nonexistent/w.npy"}), 2);
  EXPECT_EQ(Json()["error"]["field"], "out");
  std::filesystem::remove(Path("r.csv"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

// Would catch: rows that count twice because their oracle does.
TEST_F(CliUses, AnOracleIsGivenOnce) {
  EXPECT_EQ(Train({"--oracle", "h:2", "--oracle", "h:1"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "ORACLE_REPEATED");
  EXPECT_EQ(Json()["error"]["field"], "oracle");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace gradoracle
