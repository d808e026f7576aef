#include "client/estimation/state_file.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "core/npy.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr size_t kHead = 17 + 1 + 9;  // text, format, length
constexpr size_t kTail = 34;          // digest

EstimatorState State() {
  HessianEstimator::Options options;
  options.batch_size = 64;
  options.total_noise_variance = 64;
  options.unit_diagonal_known = true;
  absl::StatusOr<HessianEstimator> estimator = HessianEstimator::Create(5, options);
  EXPECT_TRUE(estimator.ok());
  std::mt19937_64 generator(1);
  EXPECT_TRUE(estimator->Add(StandardNormal(generator, 1000, 5)).ok());
  const OracleIdentity oracle{"houses", "standardised", 1000};
  const std::vector<std::string> runs = {"a", "b"};
  EstimatorState state;
  state.query = {"covariance", "digest"};
  state.parts.push_back({oracle, runs, *std::move(estimator)});
  return state;
}

std::string Folder() {
  const std::string folder =
      ::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

std::string Reason(const std::string& bytes) {
  const absl::StatusOr<EstimatorState> state = DecodeState(bytes, "FILE");
  if (state.ok()) return "";
  EXPECT_THAT(std::string(state.status().message()), StartsWith("FILE: "));
  EXPECT_EQ(ErrorField(state.status()).value_or(""), "state");
  return ErrorReason(state.status()).value_or("none");
}

// Catches: a field that is not written, or read into another.
TEST(StateFile, HoldsEverything) {
  const std::string path = Folder() + "/a.state";
  const EstimatorState state = State();
  ASSERT_TRUE(SaveState(state, path).ok());
  const absl::StatusOr<EstimatorState> loaded = LoadState(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->query, state.query);
  const StatePart& part = loaded->parts.at(0);
  EXPECT_EQ(part.oracle, state.parts.front().oracle);
  EXPECT_EQ(part.runs, state.parts.front().runs);
  EXPECT_TRUE(part.estimator.options().unit_diagonal_known);
  EXPECT_EQ(part.estimator.options().batch_size, 64);
  EXPECT_EQ(part.estimator.count(), 1000);
  EXPECT_EQ(EncodeState(*loaded), EncodeState(state));
}

// The file is replaced whole, nothing else is left in the folder.
TEST(StateFile, IsReplacedWhole) {
  const std::string folder = Folder(), path = folder + "/a.state";
  std::ofstream(path) << "old";
  ASSERT_TRUE(CheckStateWritable(path).ok());
  EXPECT_EQ(std::filesystem::file_size(path), 3u);
  ASSERT_TRUE(SaveState(State(), path).ok());
  EXPECT_TRUE(LoadState(path).ok());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

// Catches: a prefix of a state taken for one, at any byte.
TEST(StateFile, AnyTruncationIsNoticed) {
  const std::string bytes = EncodeState(State());
  EXPECT_EQ(Reason(""), "STATE_FOREIGN");
  for (size_t length = 1; length < bytes.size(); ++length) {
    ASSERT_EQ(Reason(bytes.substr(0, length)), "STATE_TRUNCATED") << length;
  }
}

// Catches: a part of the file that the checksum does not cover.
TEST(StateFile, AnyDamageIsNoticed) {
  const std::string bytes = EncodeState(State());
  for (size_t byte = 0; byte < bytes.size(); ++byte) {
    std::string damaged = bytes;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 0x10);
    ASSERT_THAT(Reason(damaged), AnyOf("STATE_FOREIGN", "STATE_VERSION", "STATE_TRUNCATED", "STATE_CORRUPT")) << byte;
  }
  EXPECT_EQ(Reason(bytes + "x"), "STATE_CORRUPT");
}

TEST(StateFile, OtherFilesAreNamedAsSuch) {
  const std::string folder = Folder();
  ASSERT_TRUE(WriteNpyVector(folder + "/v.npy", Eigen::VectorXd::Ones(100)).ok());
  const auto reason = [](const std::string& path) { return ErrorReason(LoadState(path).status()).value_or(""); };
  EXPECT_EQ(reason(folder + "/v.npy"), "STATE_FOREIGN");
  EXPECT_EQ(reason(folder + "/none"), "STATE_NOT_FOUND");
  EXPECT_EQ(reason(folder), "STATE_UNREADABLE");
  std::string newer = EncodeState(State());
  newer[17] = 2;
  EXPECT_EQ(Reason(newer), "STATE_VERSION");
  EXPECT_EQ(ErrorReason(SaveState(State(), folder + "/none/a")).value_or(""), "STATE_UNWRITABLE");
  EXPECT_EQ(ErrorReason(SaveState(State(), folder)).value_or(""), "STATE_UNWRITABLE");
  EXPECT_EQ(ErrorReason(CheckStateWritable(folder + "/none/a")).value_or(""), "STATE_UNWRITABLE");
}

// A state whose contents were changed by `change`, with length and checksum that fit.
std::string Forged(const std::function<void(nlohmann::json&)>& change) {
  const std::string bytes = EncodeState(State());
  nlohmann::json map = nlohmann::json::from_cbor(bytes.begin() + kHead, bytes.end() - kTail);
  change(map);
  std::string forged = bytes.substr(0, kHead);
  nlohmann::json::to_cbor(map, forged);
  const uint64_t length = forged.size() - kHead;
  for (int i = 0; i < 8; ++i) forged[kHead - 1 - i] = static_cast<char>(length >> (8 * i) & 0xff);
  return forged + "\x58\x20" + Sha256(forged);
}

// Catches: trusting numbers of a well-sealed file: sizes that allocate, counts that divide, NaN.
TEST(StateFile, ContradictionsAreRefused) {
  EXPECT_THAT(Reason(Forged([](nlohmann::json&) {})), IsEmpty());
  using Change = std::function<void(nlohmann::json&)>;
  const auto covariance = [](const std::string& key, const nlohmann::json& value) -> Change {
    return [=](nlohmann::json& map) { map["parts"][0]["covariance"][key] = value; };
  };
  const nlohmann::json nothing = nlohmann::json::binary({});
  const nlohmann::json nans = nlohmann::json::binary(std::vector<uint8_t>(40, 0xff));
  for (const Change& change : std::vector<Change>{
           [](nlohmann::json& map) { map.erase("estimator"); },
           [](nlohmann::json& map) { map["parts"] = nlohmann::json::array(); },
           [](nlohmann::json& map) { map["dimension"] = 6; },
           [](nlohmann::json& map) { map["batch_size"] = 0; },
           [](nlohmann::json& map) { map["total_noise_variance"] = -1.0; },
           covariance("dimension", int64_t{1} << 40),
           covariance("dimension", int64_t{1} << 62),
           covariance("dimension", -1),
           covariance("block_size", 1),
           covariance("block_size", 3),
           covariance("completed_blocks", 1000),
           covariance("completed_blocks", -1),
           covariance("closed_count", 10),
           covariance("closed_mean", nothing),
           covariance("closed_mean", nans),
           covariance("closed_mean", "text"),
           covariance("between", nothing),
           covariance("between_pending", int64_t{1} << 61),
           covariance("slots", nlohmann::json::array()),
           covariance("degrees_of_freedom", nlohmann::json::array({1, 2})),
           covariance("open_group", 32),
           covariance("raw_count", -1),
           covariance("raw_count", 64),
           covariance("centred_count", int64_t{1} << 62),
           covariance("raw_sum", nans),
           covariance("buffered", 1),
       }) {
    EXPECT_EQ(Reason(Forged(change)), "STATE_INVALID");
  }
}

}  // namespace
}  // namespace gradoracle
