#include "core/csv_reader.h"

#include <zlib.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/byte_source.h"
#include "core/column_names.h"
#include "core/errors.h"
#include "core/parse_number.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

absl::StatusOr<RegressionData> Parse(absl::string_view text, const ReadOptions& options = {}) {
  const std::unique_ptr<ByteSource> source = MemoryByteSource(text);
  return ReadCsv(*source, "prices.csv", options);
}

std::string Gzip(absl::string_view text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// Repeats `line` without end: what a bomb looks like to the reader.
class EndlessSource : public ByteSource {
 public:
  EndlessSource(std::string header, const std::string& line) : text_(std::move(header)) {
    while (block_.size() < 65536) block_ += line;
  }
  absl::StatusOr<size_t> Read(absl::Span<char> out) override {
    for (size_t filled = 0; filled < out.size();) {
      if (at_ == text_.size()) text_ = block_, at_ = 0;
      const size_t count = text_.copy(out.data() + filled, out.size() - filled, at_);
      at_ += count;
      filled += count;
    }
    bytes_ += out.size();
    return out.size();
  }
  double FractionRead() const override { return 0; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::string text_;
  std::string block_;  // the line, many times
  size_t at_ = 0;
  uint64_t bytes_ = 0;
};

// Catches: a transposed matrix, a target taken from the wrong column, feature order changed by the split.
TEST(CsvReaderTest, SplitsOffTheTargetWhereverItStands) {
  const std::string text = "a,b,c\n1,2,3\n4,5,6\n";
  ReadOptions options;
  for (const std::string target : {"", "c"}) {
    options.target = target;
    const absl::StatusOr<RegressionData> data = Parse(text, options);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_THAT(data->feature_names, ElementsAre("a", "b"));
    EXPECT_EQ(data->target_name, "c");
    EXPECT_EQ(data->features, (RowMajorMatrix(2, 2) << 1, 2, 4, 5).finished());
    EXPECT_EQ(data->targets, Eigen::Vector2d(3, 6));
  }
  options.target = "a";
  const absl::StatusOr<RegressionData> first = Parse(text, options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(first->feature_names, ElementsAre("b", "c"));
  EXPECT_EQ(first->features, (RowMajorMatrix(2, 2) << 2, 3, 5, 6).finished());
  EXPECT_EQ(first->targets, Eigen::Vector2d(1, 4));
  options.target = "b";
  const absl::StatusOr<RegressionData> middle = Parse(text, options);
  ASSERT_TRUE(middle.ok()) << middle.status();
  EXPECT_EQ(middle->features, (RowMajorMatrix(2, 2) << 1, 3, 4, 6).finished());
  EXPECT_EQ(middle->targets, Eigen::Vector2d(2, 5));
}

// Catches: rows lost or doubled where the matrix grows or where a chunk of the file ends (the line length is odd and
// the chunks are 64 KiB, so chunk ends fall on every place of a line, between CR and LF too).
TEST(CsvReaderTest, KeepsEveryRowAcrossChunksAndGrowth) {
  constexpr int kRows = 100'000;
  for (const std::string newline : {"\n", "\r\n"}) {
    std::string text = absl::StrCat("a,b,y", newline);
    for (int i = 0; i < kRows; ++i) absl::StrAppend(&text, i, ",\"", 2 * i, "\",-", i, newline);
    const absl::StatusOr<RegressionData> data = Parse(text);
    ASSERT_TRUE(data.ok()) << data.status();
    ASSERT_EQ(data->row_count(), kRows);
    for (int i = 0; i < kRows; ++i) {
      ASSERT_EQ(data->features(i, 0), i);
      ASSERT_EQ(data->features(i, 1), 2 * i);
      ASSERT_EQ(data->targets[i], -i);
    }
  }
}

// Catches: a line or column counted wrongly beyond the first chunk, after CRLF, or after quoted fields.
TEST(CsvReaderTest, LocatesAnErrorFarDown) {
  std::string text = "a,b,y\r\n";
  for (int i = 0; i < 50'000; ++i) absl::StrAppend(&text, i, ",\"1\",3\r\n");
  absl::StrAppend(&text, "7,12x45,9\r\n");
  const absl::Status status = Parse(text).status();
  EXPECT_EQ(status.message(), "prices.csv:50002:2: column \"b\": not a number; every field must be a finite number");
  EXPECT_EQ(ErrorReason(status), "DATA_NOT_A_NUMBER");
  EXPECT_EQ(ErrorField(status), "data");
}

// Catches: a message that quotes what stands in a field: it may be a private value with a typing error.
TEST(CsvReaderTest, NeverQuotesAField) {
  for (const std::string field : {"24.7O13", "24.7013 EUR", "\"24,7013\"", "=24.7013", "\"24.7013", "24.7013,9",
                                  "24.7\"013", "0x24.7013", "24.7013\r", "24.7013e999"}) {
    const absl::Status status = Parse(absl::StrCat("a,y\n", field, ",1\n2,3\n")).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("24"))) << field;
    EXPECT_THAT(std::string(status.message()), StartsWith("prices.csv:2")) << field;
  }
}

TEST(CsvReaderTest, NamesTheColumnsWhenTheTargetIsMissing) {
  ReadOptions options;
  options.target = "price";
  const absl::Status status = Parse("a,b,y\n1,2,3\n", options).status();
  EXPECT_EQ(status.message(), "prices.csv:1: there is no column \"price\" to be the target; the columns are: a, b, y");
  EXPECT_EQ(ErrorField(status), "target");
  EXPECT_EQ(ErrorReason(status), "DATA_TARGET_MISSING");
}

// Catches: a limit counted without the target, off by one, or reported as something else.
TEST(CsvReaderTest, HoldsTheLimitOfBytesExactly) {
  ReadOptions options;
  options.max_matrix_bytes = 2 * 3 * 8;
  EXPECT_TRUE(Parse("a,b,y\n1,2,3\n4,5,6\n", options).ok());
  options.max_matrix_bytes -= 1;
  const absl::Status status = Parse("a,b,y\n1,2,3\n4,5,6\n", options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "DATA_TOO_LARGE");
  EXPECT_THAT(std::string(status.message()), StartsWith("prices.csv:3: more than max_matrix_bytes = 47 bytes"));
  options.max_matrix_bytes = 0;
  EXPECT_EQ(Parse("a,y\n1,2\n", options).status().code(), absl::StatusCode::kResourceExhausted);
}

// Each endless stream must be given up after a bounded number of bytes. Catches: a bound that is missing (the test
// would not end) or that counts the wrong thing.
TEST(CsvReaderTest, GivesUpOnEndlessInput) {
  struct Case {
    std::string header, line;
    absl::StatusCode code;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {"a,b\n", "1,2\n", absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE"},     // rows
      {"a,b\n", "0", absl::StatusCode::kInvalidArgument, "DATA_FIELD_TOO_LONG"},      // one field
      {"a,b\n\"", "0\n", absl::StatusCode::kInvalidArgument, "DATA_FIELD_TOO_LONG"},  // one quoted field
      {"", "a", absl::StatusCode::kInvalidArgument, "DATA_FIELD_TOO_LONG"},           // one name
      {"", "a,", absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE"},             // columns
      {"a,b\n1,", " ", absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE"},       // spaces
      {"a,b\n1,2\n", "\n", absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE"},   // blank lines
  };
  for (const Case& c : cases) {
    EndlessSource source(c.header, c.line);
    ReadOptions options;
    options.max_matrix_bytes = 1 << 20;
    const absl::Status status = ReadCsv(source, "bomb.csv", options).status();
    EXPECT_EQ(status.code(), c.code) << status << " for " << c.line;
    EXPECT_EQ(ErrorReason(status), c.reason) << status << " for " << c.line;
    EXPECT_LE(source.bytes(), uint64_t{kMaxLineBytes} + (1 << 20));
  }
}

TEST(CsvReaderTest, ReadsNumbersToTheNearestDouble) {
  const absl::StatusOr<RegressionData> data =
      Parse("a,b,c,d,y\n0.1,-0,1e-400,5e-324,1.7976931348623157e308\n-1e-400,+.5,5.,1E+3,9007199254740993\n");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->features(0, 0), 0.1);
  EXPECT_EQ(std::bit_cast<uint64_t>(data->features(0, 1)), std::bit_cast<uint64_t>(-0.0));
  EXPECT_EQ(std::bit_cast<uint64_t>(data->features(0, 2)), 0u);
  EXPECT_EQ(data->features(0, 3), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(data->targets[0], std::numeric_limits<double>::max());
  EXPECT_EQ(std::bit_cast<uint64_t>(data->features(1, 0)), std::bit_cast<uint64_t>(-0.0));
  EXPECT_EQ(data->features(1, 1), 0.5);
  EXPECT_EQ(data->features(1, 2), 5);
  EXPECT_EQ(data->features(1, 3), 1000);
  EXPECT_EQ(data->targets[1], 9007199254740992);  // ties to even
}

TEST(ParseNumberTest, TellsKindsApart) {
  const std::vector<std::pair<std::string, NumberKind>> cases = {
      {"1", NumberKind::kFinite},
      {"-1.5e-3", NumberKind::kFinite},
      {"+1", NumberKind::kFinite},
      {"1e-999", NumberKind::kFinite},
      {"", NumberKind::kEmpty},
      {"+", NumberKind::kNotANumber},
      {"-", NumberKind::kNotANumber},
      {".", NumberKind::kNotANumber},
      {"e5", NumberKind::kNotANumber},
      {"++1", NumberKind::kNotANumber},
      {"+-1", NumberKind::kNotANumber},
      {"--1", NumberKind::kNotANumber},
      {"1 ", NumberKind::kNotANumber},
      {" 1", NumberKind::kNotANumber},
      {"0x1F", NumberKind::kNotANumber},
      {"1e", NumberKind::kNotANumber},
      {"1e+", NumberKind::kNotANumber},
      {"1.2.3", NumberKind::kNotANumber},
      {"1_000", NumberKind::kNotANumber},
      {"NA", NumberKind::kNotANumber},
      {"true", NumberKind::kNotANumber},
      {"1,5", NumberKind::kDecimalComma},
      {"-1,5", NumberKind::kDecimalComma},
      {"1,234,5", NumberKind::kNotANumber},
      {"nan", NumberKind::kNan},
      {"-NaN", NumberKind::kNan},
      {"inf", NumberKind::kInfinite},
      {"+inf", NumberKind::kInfinite},
      {"-Infinity", NumberKind::kInfinite},
      {"1e999", NumberKind::kOutOfRange},
      {"-1e309", NumberKind::kOutOfRange},
      {std::string(400, '9'), NumberKind::kOutOfRange},
  };
  for (const auto& [text, kind] : cases) {
    double value = 0;
    EXPECT_EQ(ParseNumber(text, value), kind) << "\"" << text << "\"";
  }
}

TEST(ColumnNamesTest, RefusesWhatHarmsTerminalsSpreadsheetsAndReaders) {
  for (const std::string good : {"a", "log10_price", "median income (EUR)", "größe", "房间数", "a=b", "7", "Δ🙂"}) {
    EXPECT_EQ(ColumnNameDefect(good), "") << good;
  }
  EXPECT_EQ(ColumnNameDefect(std::string(256, 'a')), "");
  for (const std::string bad : {"", "=1+1", "+x", "-x", "@x", "a\nb", "a\tb", "\x1b[31m", "\x7f", "\xc2\x85", "\xff",
                                "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x80\xae",
                                "\xef\xbb\xbf"
                                "a"}) {
    EXPECT_NE(ColumnNameDefect(bad), "") << bad;
  }
  EXPECT_NE(ColumnNameDefect(std::string(257, 'a')), "");
  EXPECT_NE(ColumnNameDefect(absl::string_view("a\0b", 3)), "");
}

// Catches: output lost at the end of a read or a member, whatever the sizes of the caller's buffer.
TEST(GunzipTest, JoinsMembersForAnyBufferSize) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) absl::StrAppend(&text, i, ",");
  const std::string half = text.substr(0, text.size() / 2);
  const std::string compressed = Gzip(half) + Gzip("") + Gzip(text.substr(half.size()));
  for (const size_t size : {size_t{1}, size_t{7}, size_t{4096}, text.size(), text.size() + 1}) {
    const std::unique_ptr<ByteSource> source = GunzipByteSource(MemoryByteSource(compressed));
    std::string out;
    std::vector<char> buffer(size);
    for (bool more = true; more;) {
      const absl::StatusOr<size_t> got = source->Read(absl::MakeSpan(buffer));
      ASSERT_TRUE(got.ok()) << got.status();
      out.append(buffer.data(), *got);
      more = *got == size;
    }
    EXPECT_EQ(out, text);
    EXPECT_EQ(source->FractionRead(), 1);
  }
}

// Every proper prefix of a gzip file is an error. Catches: a truncation that is taken for the end of the data, above
// all one inside the last eight bytes, where all of the text has already come out.
TEST(GunzipTest, RefusesEveryTruncation) {
  const std::string compressed = Gzip("a,b,y\n1,2,3\n4,5,6\n");
  for (size_t length = 0; length < compressed.size(); ++length) {
    const std::unique_ptr<ByteSource> source =
        GunzipByteSource(MemoryByteSource(absl::string_view(compressed).substr(0, length)));
    const absl::Status status = ReadCsv(*source, "prices.csv.gz", {}).status();
    EXPECT_EQ(ErrorReason(status), "DATA_GZIP_TRUNCATED") << length << ": " << status;
  }
}

// A flipped bit behind the ten bytes of the header is an error, or was one of the unused bits that fill up the last
// byte of the compressed data and changes nothing. Catches: checksum or length not verified.
TEST(GunzipTest, IsNeverFooledByAFlippedBit) {
  const std::string text = "a,b,y\n1,2,3\n4,5,6\n";
  const std::string compressed = Gzip(text);
  const RegressionData original = *Parse(text);
  int accepted = 0;
  for (size_t bit = 80; bit < compressed.size() * 8; ++bit) {
    std::string damaged = compressed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const std::unique_ptr<ByteSource> source = GunzipByteSource(MemoryByteSource(damaged));
    const absl::StatusOr<RegressionData> data = ReadCsv(*source, "prices.csv.gz", {});
    if (!data.ok()) continue;
    ++accepted;
    EXPECT_EQ(data->features, original.features) << bit;
    EXPECT_EQ(data->targets, original.targets) << bit;
    EXPECT_EQ(data->feature_names, original.feature_names) << bit;
  }
  EXPECT_LT(accepted, 8);
}

}  // namespace
}  // namespace gradoracle
