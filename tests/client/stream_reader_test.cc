#include "client/stream_reader.h"

#include <optional>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "proto/conversion.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

// Catches: a reader that is destroyed in the midst of a stream and waits for ever for an end that no reaction will see,
// as it did when its slots were full or the last read came in meanwhile. The test's own timeout is the bound.
TEST(StreamReaderTest, CanBeDestroyedAtAnyMoment) {
  TestOracle oracle;
  const auto stub = v1::OracleService::NewStub(oracle.Tcp());
  StreamOptions options;
  options.max_chunk_gradients = 10;
  for (int moment = 0; moment < 60; ++moment) {
    std::optional<StreamReader> reader;
    reader.emplace(stub.get(), ToProto(oracle.Query(1'000'000), options));
    const v1::StreamGradientsResponse* message = nullptr;
    for (int i = 0; i < moment % 6; ++i) {
      ASSERT_EQ(reader->Next(absl::Minutes(5), &message), StreamReader::Outcome::kMessage);
    }
    absl::SleepFor(absl::Microseconds(100) * (moment % 10));  // slots fill up, or not yet
    reader.reset();
  }
  EXPECT_TRUE(oracle.admission().AwaitIdle(absl::Now() + absl::Minutes(5))) << "a call was left behind";
}

TEST(StreamReaderTest, DeliversEverythingAndThenTheEnd) {
  TestOracle oracle;
  const auto stub = v1::OracleService::NewStub(oracle.Tcp());
  StreamOptions options;
  options.max_chunk_gradients = 7;
  StreamReader reader(stub.get(), ToProto(oracle.Query(100), options));
  const v1::StreamGradientsResponse* message = nullptr;
  int64_t received = 0;
  while (reader.Next(absl::Minutes(5), &message) == StreamReader::Outcome::kMessage) {
    EXPECT_EQ(message->first_gradient(), received);
    received += message->gradient_count();
  }
  EXPECT_EQ(received, 100);
  EXPECT_TRUE(reader.status().ok());
}

}  // namespace
}  // namespace gradoracle
