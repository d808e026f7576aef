#include "server/service/call_record.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

constexpr char kId[] = "4bf92f3577b34da6a3ce929d0e0e4736";

// https://www.w3.org/TR/trace-context: version - trace id - parent id - flags; a later version may append to it.
TEST(TraceIdOf, IsTheSecondPartOfATraceparent) {
  const std::string traceparent = std::string("00-") + kId + "-00f067aa0ba902b7-01";
  EXPECT_EQ(TraceIdOf(traceparent), kId);
  EXPECT_EQ(TraceIdOf("cc" + traceparent.substr(2) + "-what-the-future-will-be-like"), kId);
}

// Would catch a header of the caller's choice that gets into the log as it stands.
TEST(TraceIdOf, NothingElseIsOne) {
  const std::string id = kId;
  for (const std::string& traceparent : std::vector<std::string>{
           "", "00", "00-" + id, "00-" + id + "-00f067aa0ba902b7", id, "00_" + id + "-00f067aa0ba902b7-01",
           "00-" + id + "_00f067aa0ba902b7-01", "00-" + std::string(32, '0') + "-00f067aa0ba902b7-01",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-" + id.substr(1) + "-00f067aa0ba902b7-012",
           "00-" + id.substr(2) + "\n\n-00f067aa0ba902b7-01", "00-" + id.substr(1) + "g-00f067aa0ba902b7-01"}) {
    EXPECT_EQ(TraceIdOf(traceparent), "") << traceparent;
  }
}

}  // namespace
}  // namespace gradoracle
