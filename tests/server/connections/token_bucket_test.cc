#include "server/connections/token_bucket.h"

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

int TakeAll(TokenBucket& bucket, TokenBucket::Time now) {
  int taken = 0;
  while (bucket.Take(now)) ++taken;
  return taken;
}

// Would catch a bucket that starts empty, overflows while it is left alone, or refills at another rate.
TEST(TokenBucket, AllowsTheBurstThenTheRate) {
  const TokenBucket::Time start{};
  TokenBucket bucket(/*burst=*/10, /*per_second=*/4, start);
  EXPECT_EQ(TakeAll(bucket, start), 10);
  EXPECT_EQ(TakeAll(bucket, start + milliseconds(249)), 0);
  EXPECT_EQ(TakeAll(bucket, start + milliseconds(250)), 1);
  EXPECT_EQ(TakeAll(bucket, start + milliseconds(1250)), 4);
  EXPECT_EQ(TakeAll(bucket, start + seconds(1'000'000)), 10);
}

// Would catch minted tokens: threads read the clock before they come to take.
TEST(TokenBucket, GainsNothingFromTimeRunningBackwards) {
  const TokenBucket::Time start{};
  TokenBucket bucket(2, 1, start);
  EXPECT_EQ(TakeAll(bucket, start + seconds(100)), 2);
  EXPECT_EQ(TakeAll(bucket, start), 0);
  EXPECT_EQ(TakeAll(bucket, start + seconds(100)), 0);
}

TEST(TokenBucket, ZeroAllowsNothing) {
  TokenBucket bucket(0, 5, TokenBucket::Time{});
  EXPECT_FALSE(bucket.Take(TokenBucket::Time{} + seconds(10)));
}

}  // namespace
}  // namespace gradoracle
