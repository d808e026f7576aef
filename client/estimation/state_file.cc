#include "client/estimation/state_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

constexpr absl::string_view kMagic = "\x70gradoracle-state";  // a text of 16 bytes
constexpr char kFormat = 1;                                   // below 24, so that CBOR writes it as itself
constexpr absl::string_view kLengthHead = "\x1b";             // an unsigned number of 8 bytes, big-endian
constexpr absl::string_view kDigestHead = "\x58\x20";         // a byte string of 32 bytes
constexpr size_t kHeadBytes = kMagic.size() + 1 + 1 + 8;
constexpr size_t kTailBytes = 2 + 32;

Json EncodePart(const StatePart& part);
StatePart DecodePart(const Json& json, const HessianEstimator::Options& common);
Json EncodeCovariance(const StreamingCovariance::State& state);
StreamingCovariance::State DecodeCovariance(const Json& json);
template <typename Matrix>
Json Encode(const Matrix& matrix);
template <typename Matrix>
void Decode(const Json& json, Matrix& matrix, int64_t rows, int64_t cols);
// Thrown inside DecodeState only, where nlohmann's own exceptions are caught.
struct BadState {
  absl::Status status;
};
absl::Status StateError(absl::string_view reason, const std::string& name, absl::string_view message);
absl::Status Unwritable(const std::string& path, int error);

}  // namespace

std::string EncodeState(const EstimatorState& state) {
  const HessianEstimator& first = state.parts.front().estimator;
  Json parts = Json::array();
  for (const StatePart& part : state.parts) parts.push_back(EncodePart(part));
  const Json map = {{"estimator", state.query.estimator},
                    {"weights_digest", state.query.weights_digest},
                    {"dimension", first.dimension()},
                    {"batch_size", first.options().batch_size},
                    {"total_noise_variance", first.options().total_noise_variance},
                    {"parts", std::move(parts)}};
  std::string bytes = absl::StrCat(kMagic, std::string(1, kFormat), kLengthHead, std::string(8, '\0'));
  Json::to_cbor(map, bytes);
  uint64_t length = bytes.size() - kHeadBytes;
  for (size_t byte = kHeadBytes; length > 0; length >>= 8) bytes[--byte] = static_cast<char>(length & 0xff);
  const std::string digest = Sha256(bytes);
  absl::StrAppend(&bytes, kDigestHead, digest);
  return bytes;
}

absl::StatusOr<EstimatorState> DecodeState(const std::string& bytes, const std::string& name) {
  const absl::string_view view = bytes;
  const absl::string_view head = view.substr(0, std::min(view.size(), kMagic.size()));
  if (view.empty() || !absl::StartsWith(kMagic, head)) {
    return StateError("STATE_FOREIGN", name,
                      view.empty() ? "is empty, not a state written by `gradoracle estimate --state`"
                                   : "is not a state written by `gradoracle estimate --state`");
  }
  if (view.size() > kMagic.size() && view[kMagic.size()] != kFormat) {
    return StateError("STATE_VERSION", name,
                      absl::StrCat("is of format ", static_cast<unsigned char>(view[kMagic.size()]),
                                   ", but this version reads format ", static_cast<int>(kFormat),
                                   "; use the version of gradoracle that wrote it"));
  }
  if (view.size() < kHeadBytes + kTailBytes) {
    return StateError("STATE_TRUNCATED", name, absl::StrCat("breaks off after ", view.size(), " bytes"));
  }
  uint64_t length = 0;
  for (size_t byte = kHeadBytes - 8; byte < kHeadBytes; ++byte) length = length << 8 | static_cast<uint8_t>(view[byte]);
  const uint64_t held = view.size() - kHeadBytes - kTailBytes;
  if (held < length) {
    return StateError("STATE_TRUNCATED", name,
                      absl::StrCat("breaks off: it holds ", held, " of ", length, " bytes of contents"));
  }
  const absl::string_view contents = view.substr(0, view.size() - kTailBytes);
  if (held > length || view.substr(contents.size()) != absl::StrCat(kDigestHead, Sha256(contents))) {
    return StateError("STATE_CORRUPT", name, "is damaged: its checksum does not fit its contents");
  }
  try {
    const Json map = Json::from_cbor(bytes.begin() + kHeadBytes, bytes.end() - kTailBytes);
    EstimatorState state;
    map.at("estimator").get_to(state.query.estimator);
    map.at("weights_digest").get_to(state.query.weights_digest);
    HessianEstimator::Options options;
    map.at("batch_size").get_to(options.batch_size);
    map.at("total_noise_variance").get_to(options.total_noise_variance);
    for (const Json& part : map.at("parts")) {
      state.parts.push_back(DecodePart(part, options));
      if (state.parts.back().estimator.dimension() == map.at("dimension").get<int64_t>()) continue;
      return StateError("STATE_INVALID", name, "dimension contradicts the parts");
    }
    if (state.parts.empty()) return StateError("STATE_INVALID", name, "holds no oracle's gradients");
    return state;
  } catch (const BadState& bad) {
    const bool memory = bad.status.code() == absl::StatusCode::kResourceExhausted;
    if (memory) return bad.status;
    return StateError("STATE_INVALID", name, bad.status.message());
  } catch (const Json::exception& error) {
    return StateError("STATE_INVALID", name, error.what());
  }
}

absl::StatusOr<EstimatorState> LoadState(const std::string& path) {
  std::error_code error;
  const bool found = std::filesystem::exists(path, error);
  if (!found && !error) {
    return MakeError(absl::StatusCode::kNotFound, "STATE_NOT_FOUND", "state", absl::StrCat(path, ": no such file"));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return StateError("STATE_UNREADABLE", path, absl::StrCat("cannot be read: ", error.message()));
  std::ifstream file(path, std::ios::binary);
  std::string bytes(size, '\0');
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) {
    return StateError("STATE_UNREADABLE", path, absl::StrCat("cannot be read: ", std::strerror(errno)));
  }
  return DecodeState(bytes, path);
}

absl::Status SaveState(const EstimatorState& state, const std::string& path) {
  const std::string bytes = EncodeState(state);
  const std::string temporary = absl::StrCat(path, ".tmp-", getpid());
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return Unwritable(path, errno);
  size_t done = 0;
  int error = 0;
  while (done < bytes.size() && error == 0) {
    const ssize_t written = write(descriptor, bytes.data() + done, bytes.size() - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  // What a state holds may have cost a budget: on the disk before it takes the place of the last one.
  if (error == 0 && fsync(descriptor) != 0) error = errno;
  if (close(descriptor) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  return Unwritable(path, error);
}

absl::Status CheckStateWritable(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return Unwritable(path, EISDIR);
  const std::string temporary = absl::StrCat(path, ".tmp-", getpid());
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return Unwritable(path, errno);
  close(descriptor);
  unlink(temporary.c_str());
  return absl::OkStatus();
}

namespace {

Json EncodePart(const StatePart& part) {
  const HessianEstimator::Options& options = part.estimator.options();
  return {{"dataset_version", part.oracle.dataset_version},
          {"scaling", part.oracle.scaling},
          {"row_count", part.oracle.row_count},
          {"runs", part.runs},
          {"expected_count", options.expected_count},
          {"unit_diagonal_known", options.unit_diagonal_known},
          {"impose_unit_diagonal", options.impose_unit_diagonal},
          {"covariance", EncodeCovariance(part.estimator.covariance().Save())}};
}

StatePart DecodePart(const Json& json, const HessianEstimator::Options& common) {
  HessianEstimator::Options options = common;
  json.at("expected_count").get_to(options.expected_count);
  json.at("unit_diagonal_known").get_to(options.unit_diagonal_known);
  json.at("impose_unit_diagonal").get_to(options.impose_unit_diagonal);
  absl::StatusOr<StreamingCovariance> covariance =
      StreamingCovariance::Restore(DecodeCovariance(json.at("covariance")));
  if (!covariance.ok()) throw BadState{covariance.status()};
  absl::StatusOr<HessianEstimator> estimator = HessianEstimator::FromCovariance(*std::move(covariance), options);
  if (!estimator.ok()) throw BadState{estimator.status()};
  OracleIdentity oracle;
  json.at("dataset_version").get_to(oracle.dataset_version);
  json.at("scaling").get_to(oracle.scaling);
  json.at("row_count").get_to(oracle.row_count);
  return {oracle, json.at("runs").get<std::vector<std::string>>(), *std::move(estimator)};
}

Json EncodeCovariance(const StreamingCovariance::State& state) {
  Json slots = Json::array();
  for (const Eigen::MatrixXd& slot : state.slots) slots.push_back(Encode(slot));
  return {{"dimension", state.dimension},
          {"block_size", state.block_size},
          {"completed_blocks", state.completed_blocks},
          {"closed_count", state.closed_count},
          {"closed_mean", Encode(state.closed_mean)},
          {"between", Encode(state.between)},
          {"between_pending", state.between_rows.rows()},
          {"between_rows", Encode(state.between_rows)},
          {"slots", std::move(slots)},
          {"degrees_of_freedom", state.degrees_of_freedom},
          {"open_group", state.open_group},
          {"raw_count", state.raw_count},
          {"raw_sum", Encode(state.raw_sum)},
          {"centred_count", state.centred_count},
          {"centred_mean", Encode(state.centred_mean)},
          {"buffered", state.buffer.rows()},
          {"buffer", Encode(state.buffer)},
          {"buffer_sum", Encode(state.buffer_sum)}};
}

StreamingCovariance::State DecodeCovariance(const Json& json) {
  StreamingCovariance::State state;
  const int64_t d = json.at("dimension").get_to(state.dimension);
  json.at("block_size").get_to(state.block_size);
  json.at("completed_blocks").get_to(state.completed_blocks);
  json.at("closed_count").get_to(state.closed_count);
  Decode(json.at("closed_mean"), state.closed_mean, d, 1);
  Decode(json.at("between"), state.between, d, d);
  Decode(json.at("between_rows"), state.between_rows, json.at("between_pending").get<int64_t>(), d);
  for (const Json& slot : json.at("slots")) {
    const bool used = !slot.get_binary().empty();
    Decode(slot, state.slots.emplace_back(), used ? d + 1 : 0, used ? d : 0);
  }
  json.at("degrees_of_freedom").get_to(state.degrees_of_freedom);
  json.at("open_group").get_to(state.open_group);
  json.at("raw_count").get_to(state.raw_count);
  Decode(json.at("raw_sum"), state.raw_sum, d, 1);
  json.at("centred_count").get_to(state.centred_count);
  Decode(json.at("centred_mean"), state.centred_mean, d, 1);
  Decode(json.at("buffer"), state.buffer, json.at("buffered").get<int64_t>(), d);
  Decode(json.at("buffer_sum"), state.buffer_sum, d, 1);
  return state;
}

template <typename Matrix>
Json Encode(const Matrix& matrix) {
  std::vector<uint8_t> bytes(sizeof(double) * static_cast<size_t>(matrix.size()));
  if (!bytes.empty()) std::memcpy(bytes.data(), matrix.data(), bytes.size());
  return Json::binary(std::move(bytes));
}

// The shape is believed only after the bytes have been counted: nothing is allocated by a number in the file.
template <typename Matrix>
void Decode(const Json& json, Matrix& matrix, int64_t rows, int64_t cols) {
  const std::vector<uint8_t>& bytes = json.get_binary();
  int64_t size = 0;
  if (rows < 0 || cols < 0 || __builtin_mul_overflow(rows, cols, &size) ||
      __builtin_mul_overflow(size, int64_t{sizeof(double)}, &size) || size != static_cast<int64_t>(bytes.size())) {
    throw BadState{absl::InvalidArgumentError(
        absl::StrCat("an array of shape (", rows, ", ", cols, ") has ", bytes.size(), " bytes"))};
  }
  matrix.resize(rows, cols);
  if (!bytes.empty()) std::memcpy(matrix.data(), bytes.data(), bytes.size());
}

absl::Status StateError(absl::string_view reason, const std::string& name, absl::string_view message) {
  return InvalidField(reason, "state", absl::StrCat(name, ": ", message));
}

absl::Status Unwritable(const std::string& path, int error) {
  return StateError("STATE_UNWRITABLE", path, absl::StrCat("cannot be written: ", std::strerror(error)));
}

}  // namespace
}  // namespace gradoracle
