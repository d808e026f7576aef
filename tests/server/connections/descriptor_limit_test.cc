#include "server/connections/descriptor_limit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace gradoracle {
namespace {

TEST(DescriptorLimit, CountsWhatIsOpen) {
  const int64_t before = OpenDescriptors();
  EXPECT_GE(before, 3);  // the standard ones
  const int opened = open("/dev/null", O_RDONLY);
  EXPECT_EQ(OpenDescriptors(), before + 1);
  close(opened);
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(DescriptorLimit, TwoDescriptorsAConnectionBesideTheSpareOnes) {
  EXPECT_EQ(ConnectionsThatFit(1'024, 24), (1'024 - 24 - 64) / 2);
  EXPECT_EQ(ConnectionsThatFit(128, 30), 17);
  EXPECT_EQ(ConnectionsThatFit(64, 30), 1);  // not none: whoever starts a server wants it to answer
}

TEST(DescriptorLimit, RaisesTheSoftLimit) {
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low = {64, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), static_cast<int64_t>(limit.rlim_max));
}

}  // namespace
}  // namespace gradoracle
