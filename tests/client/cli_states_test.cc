// Recordings and states: `estimate --from`, `estimate --state`, `merge`.
#include "tests/client/cli_program.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

// Catches: NaN let through as an estimate, or the user's own file blamed on the run. Gradients of nobody's making may
// hold anything.
TEST_F(CliProgram, ARecordingThatCannotBeUsedIsTheUsersToMend) {
  RowMajorMatrix gradients = RowMajorMatrix::Random(100, 3);
  gradients(50, 1) = std::nan("");
  ASSERT_TRUE(WriteNpy(Path("g.npy"), gradients).ok());
  EXPECT_EQ(RunFrom(Path("g.npy")), 2);
  EXPECT_EQ(Json()["error"]["reason"], "NOT_FINITE");
  EXPECT_THAT(Json()["error"]["message"], HasSubstr("g.npy; record it again"));
  EXPECT_EQ(RunFrom(Path("g.npy"), {"--count", "50"}), 0);
  ASSERT_TRUE(WriteNpy(Path("one.npy"), gradients.topRows(1)).ok());
  EXPECT_EQ(RunFrom(Path("one.npy")), 2);
  EXPECT_EQ(Json()["error"]["reason"], "TOO_FEW_GRADIENTS");
  EXPECT_EQ(Json()["error"]["field"], "from");
  EXPECT_THAT(Json()["error"]["message"], HasSubstr("record more"));
}

// Catches: flags that look as if they meant something.
TEST_F(CliProgram, ARecordingTakesNeitherWeightsNorAnOracle) {
  ASSERT_TRUE(WriteNpy(Path("g.npy"), RowMajorMatrix::Random(100, 3)).ok());
  EXPECT_EQ(RunFrom(Path("g.npy"), {"--weights", "zeros"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "SOURCE_CONFLICT");
  EXPECT_EQ(Json()["error"]["field"], "weights");
  EXPECT_EQ(RunFrom(Path("g.npy"), {"--oracle", "h:1"}), 2);
  EXPECT_EQ(Json()["error"]["field"], "oracle");
  setenv("GRADORACLE_ORACLE", "h:1", 1);  // there for other verbs
  EXPECT_EQ(RunFrom(Path("g.npy")), 0);
  unsetenv("GRADORACLE_ORACLE");
}

// Catches: a recording counted twice: added again, in part, under another name and type, or by way of a merge.
TEST_F(CliProgram, ARecordingIsCountedOnce) {
  const RowMajorMatrix gradients = RowMajorMatrix::Random(100, 3);
  ASSERT_TRUE(WriteNpy(Path("g.npy"), gradients).ok());
  ASSERT_TRUE(WriteNpy(Path("same.npy"), gradients).ok());
  ASSERT_TRUE(WriteNpy(Path("other.npy"), RowMajorMatrix::Random(100, 3)).ok());
  ASSERT_EQ(RunFrom(Path("g.npy"), {"--state", Path("a.state")}), 0);
  for (const char* file : {"g.npy", "same.npy"}) {
    for (const char* count : {"100", "40"}) {
      EXPECT_EQ(RunFrom(Path(file), {"--state", Path("a.state"), "--count", count}), 2);
      EXPECT_EQ(Json()["error"]["reason"], "STATE_OVERLAP");
      EXPECT_EQ(Json()["error"]["field"], "state");
    }
  }
  ASSERT_EQ(RunFrom(Path("same.npy"), {"--state", Path("b.state")}), 0);
  EXPECT_EQ(Run({"merge", Path("a.state"), Path("b.state"), "--json"}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "STATE_OVERLAP");
  ASSERT_EQ(RunFrom(Path("other.npy"), {"--state", Path("a.state")}), 0) << err_.str();
  EXPECT_EQ(Json()["gradients"], 200);
  EXPECT_EQ(RunFrom(Path("other.npy"), {"--state", Path("a.state")}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "STATE_OVERLAP");
  // One of an oracle is another matter.
  ASSERT_EQ(RunEstimate({"--state", Path("c.state")}), 0);
  EXPECT_EQ(RunFrom(Path("g.npy"), {"--state", Path("c.state")}), 2);
  EXPECT_EQ(Json()["error"]["reason"], "STATE_MISMATCH");
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

// Catches: an estimate dropped because its state could not be written: the gradients have been paid for.
TEST_F(CliProgram, AStateThatCannotBeWrittenLeavesTheEstimate) {
  oracle_.after_block = [this](int64_t) { std::filesystem::create_directories(Path("a.state")); };
  EXPECT_EQ(RunEstimate({"--state", Path("a.state"), "--out", Path("h.npy")}), 1);
  EXPECT_EQ(Json()["error"]["reason"], "STATE_UNWRITABLE");
  EXPECT_EQ(Json()["gradients"], 1000);
  EXPECT_EQ(ReadNpyMatrix(Path("h.npy"))->rows(), kDimension);
  // Found beforehand where it can be.
  oracle_.asked = false;
  EXPECT_EQ(RunEstimate({"--state", Path("a.state")}), 2);
  EXPECT_FALSE(oracle_.asked);
}

}  // namespace
}  // namespace gradoracle
