// libFuzzer target: any bytes as CSV (or as gzip, when they begin like it). What is read must be a valid data set, and
// must survive being written out and read again.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "core/byte_source.h"
#include "core/csv_reader.h"
#include "core/errors.h"

namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

std::string Shortest(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr};
}

std::string Quoted(const std::string& name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

std::string Write(const gradoracle::RegressionData& data) {
  std::string text;
  for (const std::string& name : data.feature_names) absl::StrAppend(&text, Quoted(name), ",");
  absl::StrAppend(&text, Quoted(data.target_name), "\n");
  for (int64_t i = 0; i < data.row_count(); ++i) {
    for (int64_t j = 0; j < data.dimension(); ++j) absl::StrAppend(&text, Shortest(data.features(i, j)), ",");
    absl::StrAppend(&text, Shortest(data.targets[i]), "\n");
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(bytes), size);
  gradoracle::ReadOptions options;
  options.max_matrix_bytes = 1 << 20;
  std::unique_ptr<gradoracle::ByteSource> source = gradoracle::MemoryByteSource(input);
  if (absl::StartsWith(input, "\x1f\x8b")) source = gradoracle::GunzipByteSource(std::move(source));
  const absl::StatusOr<gradoracle::RegressionData> data = gradoracle::ReadCsv(*source, "fuzz.csv", options);
  if (!data.ok()) {
    Check(absl::StartsWith(data.status().message(), "fuzz.csv:"), "an error names the file");
    Check(gradoracle::ErrorReason(data.status()).has_value(), "an error has a reason");
    return 0;
  }
  Check(data->row_count() >= 1 && data->dimension() >= 1, "not empty");
  Check(data->targets.size() == data->row_count(), "as many targets as rows");
  Check(data->features.allFinite() && data->targets.allFinite(), "finite");
  std::set<std::string> names(data->feature_names.begin(), data->feature_names.end());
  names.insert(data->target_name);
  Check(static_cast<int64_t>(names.size()) == data->dimension() + 1, "distinct names");
  const std::string written = Write(*data);
  source = gradoracle::MemoryByteSource(written);
  const absl::StatusOr<gradoracle::RegressionData> again = gradoracle::ReadCsv(*source, "again.csv", options);
  Check(again.ok() && again->features == data->features && again->targets == data->targets &&
            again->feature_names == data->feature_names && again->target_name == data->target_name,
        "reads back what was written");
  return 0;
}
