#include "core/errors.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

// Catches: payloads lost, swapped (reason read as field), or code and message changed on the way.
TEST(ErrorsTest, ReasonAndFieldComeBack) {
  const absl::Status status =
      MakeError(absl::StatusCode::kFailedPrecondition, "SOME_REASON", "batch_size", "batch_size is 3; must be 4");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "batch_size is 3; must be 4");
  EXPECT_EQ(ErrorReason(status), "SOME_REASON");
  EXPECT_EQ(ErrorField(status), "batch_size");
}

// Catches: an empty field stored as a payload, which programs would read as a field named "".
TEST(ErrorsTest, EmptyReasonAndFieldAreAbsent) {
  const absl::Status status = MakeError(absl::StatusCode::kInternal, "", "", "broken");
  EXPECT_EQ(ErrorReason(status), std::nullopt);
  EXPECT_EQ(ErrorField(status), std::nullopt);
}

TEST(ErrorsTest, ForeignStatusAndOkHaveNone) {
  EXPECT_EQ(ErrorReason(absl::NotFoundError("gone")), std::nullopt);
  EXPECT_EQ(ErrorField(absl::OkStatus()), std::nullopt);
}

// Catches: the two shorthands confused (client exit codes and retry rules depend on the code).
TEST(ErrorsTest, ShorthandsHaveTheirCodes) {
  const absl::Status malformed = InvalidField("R", "f", "m");
  const absl::Status outside = FieldOutOfRange("R", "f", "m");
  EXPECT_EQ(malformed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(outside.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ErrorReason(malformed), "R");
  EXPECT_EQ(ErrorField(outside), "f");
}

// Catches: payloads that survive copying but not binary content (the wire carries them as bytes).
TEST(ErrorsTest, PayloadsKeepEveryByte) {
  const std::string field("a\0b\xff", 4);
  const absl::Status copy = MakeError(absl::StatusCode::kUnknown, "R", field, "m");
  EXPECT_EQ(ErrorField(copy), field);
}

// Catches: numbers swapped or cut, and a message that leaves one of them out.
TEST(ErrorsTest, QuotaComesBackAndIsReadable) {
  const Quota quota = {9223372036854775807, 9007199254740993, 3, 0};
  const absl::Status status = MakeQuotaError("SOME_BUDGET", "the budget of 'alice'", quota);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "SOME_BUDGET");
  EXPECT_EQ(ErrorQuota(status), quota);
  EXPECT_EQ(status.message(),
            "the budget of 'alice' does not pay for this: limit 9223372036854775807, spent 9007199254740993, requested "
            "3, remaining 0 gradients");
  EXPECT_EQ(ErrorQuota(absl::ResourceExhaustedError("other")), std::nullopt);
  EXPECT_EQ(ErrorQuota(absl::OkStatus()), std::nullopt);
}

}  // namespace
}  // namespace gradoracle
