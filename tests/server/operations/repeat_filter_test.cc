#include "server/operations/repeat_filter.h"

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

// Would catch a log that whoever can connect can fill, and messages that are lost without a count.
TEST(RepeatFilter, OneOfAKindInATime) {
  RepeatFilter filter(std::chrono::seconds(60));
  const RepeatFilter::Clock::time_point start;
  const auto at = [&](int seconds) { return start + std::chrono::seconds(seconds); };
  EXPECT_EQ(filter.Pass("handshake", at(0)), 0);
  EXPECT_EQ(filter.Pass("handshake", at(1)), std::nullopt);
  EXPECT_EQ(filter.Pass("handshake", at(59)), std::nullopt);
  EXPECT_EQ(filter.Pass("other", at(59)), 0);
  EXPECT_EQ(filter.Pass("handshake", at(60)), 2);
  EXPECT_EQ(filter.Pass("handshake", at(119)), std::nullopt);
  EXPECT_EQ(filter.Pass("handshake", at(500)), 1);
  EXPECT_EQ(filter.Pass("handshake", at(600)), 0);
}

}  // namespace
}  // namespace gradoracle
