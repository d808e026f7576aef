#include "client/estimation/recorded_gradients.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kBlockBytes = 256 * 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<RecordedGradients>> RecordedGradients::Open(const std::string& path) {
  GRADORACLE_ASSIGN_OR_RETURN(NpyReader reader, NpyReader::Open(path));
  if (reader.dimensions() != 2 || reader.rows() == 0 || reader.cols() == 0) {
    return InvalidField(
        "NO_GRADIENTS", "from",
        absl::StrCat(path, ": has ", reader.dimensions(), " dimensions and shape (", reader.rows(), ", ", reader.cols(),
                     "), but gradients have shape (count, dimension), both at least 1"));
  }
  return absl::WrapUnique(new RecordedGradients(std::move(reader)));
}

absl::StatusOr<std::string> RecordedGradients::Digest() const {
  const int64_t rows = std::max<int64_t>(1, kBlockBytes / static_cast<int64_t>(reader_.cols() * sizeof(double)));
  RowMajorMatrix block(std::min(rows, reader_.rows()), reader_.cols());
  std::string digest = absl::StrCat(reader_.rows(), " x ", reader_.cols());
  for (int64_t begin = 0; begin < reader_.rows(); begin += rows) {
    const int64_t length = std::min(rows, reader_.rows() - begin);
    GRADORACLE_RETURN_IF_ERROR(reader_.ReadRows(begin, length, block.data()));
    const size_t bytes = sizeof(double) * static_cast<size_t>(length * reader_.cols());
    digest = Sha256Hex(absl::StrCat(digest, absl::string_view(reinterpret_cast<const char*>(block.data()), bytes)));
  }
  return digest;
}

absl::StatusOr<OracleInfo> RecordedGradients::Info() {
  OracleInfo info;
  info.dimension = reader_.cols();
  info.limits.max_count = reader_.rows();
  info.noise.rule = NoiseRule::kFixed;  // of unknown variance: nothing may be inferred from the batch size
  return info;
}

absl::Status RecordedGradients::Gradients(const GradientQuery& query, GradientSink sink) {
  if (query.count < 1) {
    return InvalidField("COUNT_NOT_POSITIVE", "count",
                        absl::StrCat("count is ", query.count, ", but must be at least 1"));
  }
  if (query.count > reader_.rows()) {
    return FieldOutOfRange("COUNT_TOO_LARGE", "count",
                           absl::StrCat("count is ", query.count, ", but only ", reader_.rows(), " were recorded"));
  }
  const int64_t rows = std::max<int64_t>(1, kBlockBytes / static_cast<int64_t>(reader_.cols() * sizeof(double)));
  RowMajorMatrix block(std::min(rows, query.count), reader_.cols());
  for (int64_t begin = 0; begin < query.count; begin += rows) {
    const int64_t length = std::min(rows, query.count - begin);
    GRADORACLE_RETURN_IF_ERROR(reader_.ReadRows(begin, length, block.data()));
    GRADORACLE_RETURN_IF_ERROR(sink(block.topRows(length)));
  }
  return absl::OkStatus();
}

}  // namespace gradoracle
