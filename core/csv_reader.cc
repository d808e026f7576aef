#include "core/csv_reader.h"

#include <csv.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/column_names.h"
#include "core/errors.h"
#include "core/huge_pages.h"
#include "core/parse_number.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// X and y, growing row by row. conservativeResize is realloc, which moves large blocks by remapping pages, and pages of
// the reserve are not resident before they are written: the peak is the final size, not old plus new.
class GrowingData {
 public:
  GrowingData(int64_t dimension, int64_t max_rows) : dimension_(dimension), max_rows_(max_rows) {}

  // Makes room for one more row; false when there is no memory for it. `fraction_read` guesses the final size, so that
  // a large matrix is placed once, after its first MiB.
  bool AddRow(double fraction_read) {
    if (rows_ == features_.rows() && !Grow(fraction_read)) return false;
    ++rows_;
    return true;
  }

  int64_t rows() const { return rows_; }
  double* last_row() { return features_.data() + (rows_ - 1) * dimension_; }
  double& last_target() { return targets_[rows_ - 1]; }

  void MoveTo(RegressionData& data) {
    features_.conservativeResize(rows_, dimension_);
    targets_.conservativeResize(rows_);
    CollapseHugePages(features_.data(), static_cast<size_t>(features_.size()) * sizeof(double));
    CollapseHugePages(targets_.data(), static_cast<size_t>(rows_) * sizeof(double));
    data.features = std::move(features_);
    data.targets = std::move(targets_);
  }

 private:
  bool Grow(double fraction_read) {
    const int64_t first = std::max<int64_t>(16, (int64_t{1} << 17) / dimension_);  // 1 MiB
    // What is never touched costs address space only, so there is slack: moving populated memory splits huge pages.
    double wanted = 2.0 * static_cast<double>(rows_);
    if (fraction_read > 0) wanted = std::max(wanted, 1.5 * static_cast<double>(rows_) / fraction_read);
    wanted = std::clamp(wanted, static_cast<double>(first),
                        std::max(static_cast<double>(first), static_cast<double>(max_rows_)));
    return Resize(std::min(static_cast<int64_t>(wanted), max_rows_)) || Resize(std::min(rows_ + first, max_rows_));
  }

  bool Resize(int64_t capacity) {
    try {
      features_.conservativeResize(capacity, dimension_);
      AdviseHugePages(features_.data(), static_cast<size_t>(features_.size()) * sizeof(double));
      targets_.conservativeResize(capacity);
      AdviseHugePages(targets_.data(), static_cast<size_t>(capacity) * sizeof(double));
      return true;
    } catch (const std::bad_alloc&) {  // must not unwind through libcsv's frames
      return false;
    }
  }

  const int64_t dimension_;
  const int64_t max_rows_;
  int64_t rows_ = 0;
  RowMajorMatrix features_;
  Eigen::VectorXd targets_;
};

class CsvReader {
 public:
  CsvReader(ByteSource& source, absl::string_view name, const ReadOptions& options)
      : source_(source), name_(name), options_(options), buffer_(size_t{64} << 10) {
    csv_init(&parser_, CSV_STRICT | CSV_STRICT_FINI | CSV_REPALL_NL);
    // Carriage returns are checked before the parser sees them, so the only ones left stand before a line feed.
    csv_set_space_func(&parser_, [](unsigned char c) { return c == ' ' || c == '\t' || c == '\r' ? 1 : 0; });
    csv_set_blk_size(&parser_, kMaxFieldBytes);
    csv_set_term_func(&parser_, [](unsigned char c) { return c == '\n' ? 1 : 0; });
  }
  ~CsvReader() { csv_free(&parser_); }
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;

  absl::StatusOr<RegressionData> Read() {
    GRADORACLE_RETURN_IF_ERROR(ParseAll());
    if (csv_fini(&parser_, &OnField, &OnLine, this) != 0) {
      return At("DATA_QUOTING", fields_ + 1, "a quoted field is opened here and never closed");
    }
    GRADORACLE_RETURN_IF_ERROR(status_);
    if (!header_done_) return At("DATA_EMPTY", 0, "the file is empty; a header line and at least one row are needed");
    if (growing_->rows() == 0) return At("DATA_NO_ROWS", 0, "there is no row below the header; at least one is needed");
    growing_->MoveTo(data_);
    return std::move(data_);
  }

 private:
  // Feeds the whole source to the parser, 64 KiB at a time.
  absl::Status ParseAll() {
    size_t held_back = 0;  // 1 when the last byte read was a CR whose successor is not known yet
    for (bool first = true, last = false; !last; first = false) {
      absl::StatusOr<size_t> got = source_.Read(absl::MakeSpan(buffer_).subspan(held_back));
      if (!got.ok()) return Located(got.status());
      last = *got < buffer_.size() - held_back;
      absl::string_view chunk(buffer_.data(), held_back + *got);
      if (first) {
        if (absl::StartsWith(chunk, "\x1f\x8b")) {
          return At("DATA_CHARACTER", 0, "the contents are gzip: the name must end in .csv.gz");
        }
        absl::ConsumePrefix(&chunk, "\xEF\xBB\xBF");  // byte order mark
      }
      held_back = !last && absl::EndsWith(chunk, "\r") ? 1 : 0;
      GRADORACLE_RETURN_IF_ERROR(ParseChunk(chunk.substr(0, chunk.size() - held_back), held_back == 0));
      if (held_back != 0) buffer_[0] = '\r';
    }
    return absl::OkStatus();
  }

  // `at_end`: a CR at the end of the chunk is followed by nothing.
  absl::Status ParseChunk(absl::string_view chunk, bool at_end) {
    const size_t good = GoodPrefix(chunk, at_end);
    const size_t parsed = csv_parse(&parser_, chunk.data(), good, &OnField, &OnLine, this);
    GRADORACLE_RETURN_IF_ERROR(status_);
    if (csv_error(&parser_) == CSV_EPARSE) {
      return At("DATA_QUOTING", fields_ + 1,
                "a misplaced quotation mark; a quoted field begins and ends with one, and doubles those inside");
    }
    if (parsed != good) return TooLarge(fields_ + 1, "a field needs more memory than there is");
    if (good < chunk.size()) {
      if (chunk[good] == '\0') {
        return At("DATA_CHARACTER", fields_ + 1, "a NUL byte; the file must be UTF-8 text (this may be UTF-16)");
      }
      return At("DATA_CHARACTER", fields_ + 1, "a carriage return without a line feed; lines end in LF or CRLF");
    }
    if (parser_.entry_pos > kMaxFieldBytes) return FieldTooLong(fields_ + 1);
    line_bytes_ += static_cast<int64_t>(chunk.size());  // OnLine set it to 0 for each line that ended inside the chunk
    if (line_bytes_ > kMaxLineBytes) {
      return TooLarge(fields_ + 1, absl::StrCat("a line longer than ", kMaxLineBytes, " bytes"));
    }
    return absl::OkStatus();
  }

  static void OnField(void* text, size_t length, void* reader) {
    auto* const self = static_cast<CsvReader*>(reader);
    if (self->status_.ok()) self->status_ = self->Field({static_cast<const char*>(text), length});
  }
  static void OnLine(int, void* reader) {
    auto* const self = static_cast<CsvReader*>(reader);
    if (self->status_.ok()) self->status_ = self->EndOfLine();
  }

  absl::Status Field(absl::string_view text) {
    ++fields_;
    if (text.size() > kMaxFieldBytes) return FieldTooLong(fields_);
    if (!header_done_) return HeaderField(text);
    if (fields_ == 1) GRADORACLE_RETURN_IF_ERROR(StartRow());
    if (fields_ > column_count_) {
      return At("DATA_RAGGED", fields_, absl::StrCat("more fields than the ", column_count_, " of the header"));
    }
    double value = 0;
    const NumberKind kind = ParseNumber(text, value);
    if (kind != NumberKind::kFinite) {
      return At(Reason(kind), fields_, absl::StrCat(DescribeNumberKind(kind), "; every field must be a finite number"));
    }
    const size_t column = fields_ - 1;
    if (column == target_column_) {
      growing_->last_target() = value;
    } else {
      growing_->last_row()[column - (column > target_column_ ? 1 : 0)] = value;
    }
    return absl::OkStatus();
  }

  absl::Status HeaderField(absl::string_view text) {
    if (fields_ > kMaxColumns) return TooLarge(fields_, absl::StrCat("more than ", kMaxColumns, " columns"));
    double ignored = 0;
    names_are_numbers_ = names_are_numbers_ && ParseNumber(text, ignored) == NumberKind::kFinite;
    names_.emplace_back(text);
    return absl::OkStatus();
  }

  absl::Status StartRow() {
    if (blank_line_ > 0) {
      line_ = blank_line_;
      fields_ = 0;
      return At("DATA_BLANK_LINE", 0, "a blank line between rows; blank lines are allowed at the end only");
    }
    if (growing_->rows() == max_rows_) {
      if (max_rows_ == kMaxRows) return TooLarge(0, absl::StrCat("more than ", kMaxRows, " rows"));
      return TooLarge(0, absl::StrCat("more than max_matrix_bytes = ", options_.max_matrix_bytes, " bytes of numbers (",
                                      max_rows_, " rows of ", column_count_, " columns)"));
    }
    if (!growing_->AddRow(source_.FractionRead())) {
      return TooLarge(0, absl::StrCat("no memory for more than ", growing_->rows(), " rows"));
    }
    return absl::OkStatus();
  }

  absl::Status EndOfLine() {
    if (fields_ == 0) {
      if (!header_done_) return At("DATA_EMPTY", 0, "a blank line where the header should be");
      if (blank_line_ == 0) blank_line_ = line_;
      ++line_;
      return absl::OkStatus();
    }
    if (!header_done_) {
      GRADORACLE_RETURN_IF_ERROR(EndOfHeader());
    } else if (fields_ < column_count_) {
      return At("DATA_RAGGED", fields_,
                absl::StrCat("the line ends after ", fields_, " of ", column_count_, " fields; every line needs all"));
    }
    ++line_;
    fields_ = 0;
    line_bytes_ = 0;
    return absl::OkStatus();
  }

  absl::Status EndOfHeader() {
    if (names_are_numbers_) {
      return At("DATA_HEADER_MISSING", 0, "the first line holds numbers only; it must name the columns");
    }
    std::unordered_set<std::string_view> seen;
    for (size_t column = 0; column < names_.size(); ++column) {
      const absl::string_view defect = ColumnNameDefect(names_[column]);
      if (!defect.empty()) {
        return At("DATA_COLUMN_NAME", column + 1, absl::StrCat("the name of this column ", defect));
      }
      if (!seen.insert(names_[column]).second) {
        return At("DATA_DUPLICATE_COLUMN", column + 1, "an earlier column has the same name; names must be distinct");
      }
    }
    if (names_.size() == 1) {
      const bool foreign = absl::StrContains(names_[0], ';') || absl::StrContains(names_[0], '\t');
      return At("DATA_NO_FEATURES", 0,
                absl::StrCat("a single column; at least one feature and the target are needed",
                             foreign ? ", separated by commas" : ""));
    }
    GRADORACLE_RETURN_IF_ERROR(FindTarget());
    column_count_ = names_.size();
    data_.target_name = names_[target_column_];
    names_.erase(names_.begin() + static_cast<std::ptrdiff_t>(target_column_));
    data_.feature_names = std::move(names_);
    const int64_t row_bytes = static_cast<int64_t>(column_count_ * sizeof(double));
    max_rows_ = std::min(kMaxRows, std::max<int64_t>(0, options_.max_matrix_bytes) / row_bytes);
    growing_.emplace(static_cast<int64_t>(data_.feature_names.size()), max_rows_);
    header_done_ = true;
    return absl::OkStatus();
  }

  absl::Status FindTarget() {
    if (options_.target.empty()) {
      target_column_ = names_.size() - 1;
      return absl::OkStatus();
    }
    const auto found = std::find(names_.begin(), names_.end(), options_.target);
    target_column_ = static_cast<size_t>(found - names_.begin());
    if (found != names_.end()) return absl::OkStatus();
    constexpr size_t kShown = 20;
    std::string known;
    for (size_t column = 0; column < std::min(kShown, names_.size()); ++column) {
      absl::StrAppend(&known, column == 0 ? "" : ", ", names_[column]);
    }
    if (names_.size() > kShown) absl::StrAppend(&known, ", ... (", names_.size(), " in all)");
    return InvalidField("DATA_TARGET_MISSING", "target",
                        absl::StrCat(Position(0), "there is no column \"", options_.target, "\" to be the target; ",
                                     "the columns are: ", known));
  }

  static absl::string_view Reason(NumberKind kind) {
    switch (kind) {
      case NumberKind::kEmpty:
        return "DATA_FIELD_EMPTY";
      case NumberKind::kNan:
      case NumberKind::kInfinite:
      case NumberKind::kOutOfRange:
        return "DATA_NOT_FINITE";
      default:
        return "DATA_NOT_A_NUMBER";
    }
  }

  absl::Status FieldTooLong(size_t column) const {
    return At("DATA_FIELD_TOO_LONG", column,
              absl::StrCat("a field longer than ", kMaxFieldBytes, " bytes (a quotation mark that is never closed?)"));
  }

  // "NAME:LINE: ", "NAME:LINE:COLUMN: " or "NAME:LINE:COLUMN: column "x": ". column: from 1; 0 for the whole line.
  std::string Position(size_t column) const {
    std::string position = absl::StrCat(name_, ":", line_);
    if (column > 0) absl::StrAppend(&position, ":", column);
    absl::StrAppend(&position, ": ");
    if (header_done_ && column > 0 && column <= column_count_) {
      const size_t j = column - 1;
      const std::string& column_name =
          j == target_column_ ? data_.target_name : data_.feature_names[j - (j > target_column_ ? 1 : 0)];
      absl::StrAppend(&position, "column \"", column_name, "\": ");
    }
    return position;
  }

  absl::Status At(absl::string_view reason, size_t column, absl::string_view message) const {
    return InvalidField(reason, "data", absl::StrCat(Position(column), message));
  }
  absl::Status TooLarge(size_t column, absl::string_view message) const {
    return MakeError(absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE", "data",
                     absl::StrCat(Position(column), message));
  }
  // An error of the byte source, with the line the reader had come to.
  absl::Status Located(const absl::Status& error) const {
    return MakeError(error.code(), ErrorReason(error).value_or(""), "data", absl::StrCat(Position(0), error.message()));
  }

  // How much of `chunk` may be parsed: up to the first NUL, or the first CR that no LF follows.
  static size_t GoodPrefix(absl::string_view chunk, bool at_end) {
    chunk = chunk.substr(0, chunk.find('\0'));
    for (size_t at = chunk.find('\r'); at != absl::string_view::npos; at = chunk.find('\r', at + 1)) {
      const bool last = at + 1 == chunk.size();
      if (last ? at_end : chunk[at + 1] != '\n') return at;
    }
    return chunk.size();
  }

  ByteSource& source_;
  const std::string name_;
  const ReadOptions& options_;
  std::vector<char> buffer_;
  csv_parser parser_ = {};
  absl::Status status_;  // of the callbacks, which cannot stop the parser

  // Where the line being parsed began, from 1. One line feed a line: a quoted field with one inside is an error, be it
  // a name or a number.
  int64_t line_ = 1;
  int64_t blank_line_ = 0;  // the first of the blank lines just seen; 0: none
  int64_t line_bytes_ = 0;  // since the last line that was not blank, roughly
  size_t fields_ = 0;       // of this line, so far
  bool header_done_ = false;
  bool names_are_numbers_ = true;
  std::vector<std::string> names_;  // until the header is done
  size_t column_count_ = 0;         // with the target
  size_t target_column_ = 0;
  int64_t max_rows_ = 0;
  std::optional<GrowingData> growing_;
  RegressionData data_;
};

}  // namespace

absl::StatusOr<RegressionData> ReadCsv(ByteSource& source, absl::string_view name, const ReadOptions& options) {
  return CsvReader(source, name, options).Read();
}

}  // namespace gradoracle
