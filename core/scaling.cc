#include "core/scaling.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

using nlohmann::json;

constexpr double kConstantUnits = 4;

struct ColumnMoments {
  Eigen::ArrayXd means;
  Eigen::ArrayXd deviations;
};

// Two passes over the rows of `columns`, shape (N, k). The first is relative to the first row, so that a large common
// offset costs no digits and a constant column has deviation zero exactly; the second is scaled by the largest distance
// from the first row, so that no square overflows, and corrects the mean by what rounding left in it.
template <typename Matrix>
ColumnMoments ComputeColumnMoments(const Matrix& columns) {
  const Eigen::Index row_count = columns.rows();
  const double count = static_cast<double>(row_count);
  const Eigen::ArrayXd first = columns.row(0).transpose().array();
  Eigen::ArrayXd sum = Eigen::ArrayXd::Zero(columns.cols());
  Eigen::ArrayXd spread = Eigen::ArrayXd::Zero(columns.cols());
  for (Eigen::Index row = 0; row < row_count; ++row) {
    const auto distance = columns.row(row).transpose().array() - first;
    sum += distance;
    spread = spread.max(distance.abs());
  }
  ColumnMoments moments;
  moments.means = first + sum / count;
  const Eigen::ArrayXd unit = (spread > 0).select(spread, 1.0);
  Eigen::ArrayXd residue = Eigen::ArrayXd::Zero(columns.cols());
  Eigen::ArrayXd squares = Eigen::ArrayXd::Zero(columns.cols());
  Eigen::ArrayXd scaled(columns.cols());
  for (Eigen::Index row = 0; row < row_count; ++row) {
    scaled = (columns.row(row).transpose().array() - moments.means) / unit;
    residue += scaled;
    squares += scaled.square();
  }
  residue /= count;
  moments.deviations = unit * (squares / count - residue.square()).max(0.0).sqrt();
  moments.means += unit * residue;
  return moments;
}

// Not larger than what rounding of the column's own values makes of a constant: a few units in the last place, and the
// square root of N for the sums they may come from.
bool IsConstant(double mean, double deviation, int64_t row_count) {
  const double units = kConstantUnits * std::sqrt(static_cast<double>(row_count));
  const double rounding = units * std::numeric_limits<double>::epsilon() * std::abs(mean);
  return deviation <= rounding || deviation < std::numeric_limits<double>::min();
}

std::string Quoted(absl::string_view name) { return absl::StrCat("\"", name, "\""); }

absl::Status Mismatch(absl::string_view message) { return InvalidField("SCALING_MISMATCH", "scaling", message); }

absl::Status CheckNames(const Scaling& scaling, const RegressionData& data) {
  const size_t dimension = static_cast<size_t>(data.dimension());
  if (scaling.feature_names.size() != dimension || data.feature_names.size() != dimension) {
    return Mismatch(absl::StrCat("the scaling has ", scaling.feature_names.size(), " features; must have the data's ",
                                 data.dimension()));
  }
  for (size_t j = 0; j < dimension; ++j) {
    if (scaling.feature_names[j] != data.feature_names[j]) {
      return Mismatch(absl::StrCat("feature ", j, " of the scaling is ", Quoted(scaling.feature_names[j]),
                                   "; must be the data's ", Quoted(data.feature_names[j]),
                                   " (same names, same order)"));
    }
  }
  if (scaling.target_name != data.target_name) {
    return Mismatch(absl::StrCat("the target of the scaling is ", Quoted(scaling.target_name), "; must be the data's ",
                                 Quoted(data.target_name)));
  }
  return absl::OkStatus();
}

absl::Status InvalidFile(absl::string_view path, absl::string_view key, absl::string_view message) {
  return InvalidField("SCALING_FILE_INVALID", "scaling",
                      absl::StrCat("--scaling ", path, ": ", key, key.empty() ? "" : ": ", message));
}

struct ColumnScaling {
  std::string name;
  double mean = 0;
  double deviation = 1;
};

// Values of the file are not repeated in messages: whoever names the data file by mistake must not find it in a log.
absl::StatusOr<ColumnScaling> ParseColumn(absl::string_view path, absl::string_view key, const json& column) {
  const auto invalid = [&](absl::string_view member, absl::string_view message) {
    return InvalidFile(path, absl::StrCat(key, member), message);
  };
  if (!column.is_object()) return invalid("", "must be an object with name, mean and deviation");
  const auto name = column.find("name");
  if (name == column.end() || !name->is_string()) return invalid(".name", "must be a string");
  const auto mean = column.find("mean");
  if (mean == column.end() || !mean->is_number()) return invalid(".mean", "must be a finite number");
  const auto deviation = column.find("deviation");
  if (deviation == column.end() || !deviation->is_number()) return invalid(".deviation", "must be a number > 0");
  ColumnScaling parsed{name->get<std::string>(), mean->get<double>(), deviation->get<double>()};
  if (!std::isfinite(parsed.mean)) return invalid(".mean", "must be a finite number");
  if (!(std::isfinite(parsed.deviation) && parsed.deviation > 0)) return invalid(".deviation", "must be a number > 0");
  return parsed;
}

absl::StatusOr<Scaling> ParseScaling(absl::string_view path, absl::string_view bytes) {
  json document;
  try {
    document = json::parse(bytes.begin(), bytes.end());
  } catch (const json::parse_error& error) {
    // Not error.what(): it quotes the file.
    return InvalidFile(path, "", absl::StrCat("is not JSON at byte ", error.byte));
  } catch (const json::exception&) {
    return InvalidFile(path, "", "holds a number that is not a finite double");
  }
  if (!document.is_object()) return InvalidFile(path, "", "must be a JSON object with features and target");
  const auto features = document.find("features");
  if (features == document.end() || !features->is_array() || features->empty()) {
    return InvalidFile(path, "features", "must be an array of at least one {name, mean, deviation}");
  }
  const auto target = document.find("target");
  if (target == document.end()) return InvalidFile(path, "target", "must be an object with name, mean and deviation");

  const size_t dimension = features->size();
  Scaling scaling;
  scaling.feature_means.resize(static_cast<Eigen::Index>(dimension));
  scaling.feature_deviations.resize(static_cast<Eigen::Index>(dimension));
  std::set<std::string> names;
  for (size_t j = 0; j < dimension; ++j) {
    const std::string key = absl::StrCat("features[", j, "]");
    GRADORACLE_ASSIGN_OR_RETURN(const ColumnScaling column, ParseColumn(path, key, (*features)[j]));
    if (!names.insert(column.name).second) return InvalidFile(path, key + ".name", "must not repeat an earlier name");
    scaling.feature_names.push_back(column.name);
    scaling.feature_means[static_cast<Eigen::Index>(j)] = column.mean;
    scaling.feature_deviations[static_cast<Eigen::Index>(j)] = column.deviation;
  }
  GRADORACLE_ASSIGN_OR_RETURN(const ColumnScaling column, ParseColumn(path, "target", *target));
  scaling.target_name = column.name;
  scaling.target_mean = column.mean;
  scaling.target_deviation = column.deviation;
  return scaling;
}

json ColumnToJson(const std::string& name, double mean, double deviation) {
  return json{{"name", name}, {"mean", mean}, {"deviation", deviation}};
}

absl::Status WriteAndRename(const std::string& path, absl::string_view bytes) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file.good() || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(temporary.c_str());
    return absl::ErrnoToStatus(error != 0 ? error : EIO, absl::StrCat("cannot write the scaling file ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Scaling> ComputeScaling(const RegressionData& data) {
  if (data.row_count() < 1 || data.dimension() < 1) {
    return InvalidField("DATA_EMPTY", "data", "the data has no rows or no features; needs at least one of each");
  }
  const ColumnMoments features = ComputeColumnMoments(data.features);
  const ColumnMoments target = ComputeColumnMoments(data.targets);

  std::vector<std::string> constant;
  for (Eigen::Index j = 0; j < data.dimension(); ++j) {
    if (!std::isfinite(features.means[j]) || !std::isfinite(features.deviations[j])) {
      return InvalidField("COLUMN_TOO_LARGE", "data",
                          absl::StrCat("column ", Quoted(data.feature_names[static_cast<size_t>(j)]),
                                       " has values too large to average; must stay within 1e300"));
    }
    if (IsConstant(features.means[j], features.deviations[j], data.row_count())) {
      constant.push_back(Quoted(data.feature_names[static_cast<size_t>(j)]));
    }
  }
  if (!std::isfinite(target.means[0]) || !std::isfinite(target.deviations[0])) {
    return InvalidField(
        "COLUMN_TOO_LARGE", "data",
        absl::StrCat("column ", Quoted(data.target_name), " has values too large to average; must stay within 1e300"));
  }
  if (IsConstant(target.means[0], target.deviations[0], data.row_count())) {
    constant.push_back(absl::StrCat(Quoted(data.target_name), " (the target)"));
  }
  if (!constant.empty()) {
    return InvalidField("CONSTANT_COLUMN", "data",
                        absl::StrCat(constant.size() == 1 ? "column " : "columns ", absl::StrJoin(constant, ", "),
                                     " cannot be standardised, being constant up to rounding; remove from the data, "
                                     "or serve raw units (--no-standardise)"));
  }
  return Scaling{data.feature_names, features.means.matrix(), features.deviations.matrix(),
                 data.target_name,   target.means[0],         target.deviations[0]};
}

absl::Status ApplyScaling(const Scaling& scaling, RegressionData& data) {
  GRADORACLE_RETURN_IF_ERROR(CheckNames(scaling, data));
  const Eigen::RowVectorXd means = scaling.feature_means.transpose();
  const Eigen::RowVectorXd deviations = scaling.feature_deviations.transpose();
  bool finite = true;
  for (Eigen::Index row = 0; row < data.row_count(); ++row) {
    data.features.row(row) = (data.features.row(row) - means).cwiseQuotient(deviations);
    finite = finite && data.features.row(row).allFinite();
  }
  data.targets = (data.targets.array() - scaling.target_mean) / scaling.target_deviation;
  if (!finite || !data.targets.allFinite()) {
    return Mismatch("a scaled value overflows; the deviations must be those of data like this");
  }
  return absl::OkStatus();
}

absl::StatusOr<ScalingFile> ReadScalingFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file.good()) {
    return MakeError(absl::StatusCode::kNotFound, "SCALING_FILE_NOT_FOUND", "scaling",
                     absl::StrCat("--scaling ", path, ": no such file, or not readable"));
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return InvalidFile(path, "", "is a folder; must be a file");
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  GRADORACLE_ASSIGN_OR_RETURN(Scaling scaling, ParseScaling(path, bytes));
  return ScalingFile{std::move(scaling), Sha256Hex(bytes)};
}

absl::Status WriteScalingFile(const std::string& path, const Scaling& scaling) {
  // Doubles are written with the shortest digits that read back to the same bits.
  json features = json::array();
  for (size_t j = 0; j < scaling.feature_names.size(); ++j) {
    const Eigen::Index column = static_cast<Eigen::Index>(j);
    features.push_back(
        ColumnToJson(scaling.feature_names[j], scaling.feature_means[column], scaling.feature_deviations[column]));
  }
  const json document = {{"features", std::move(features)},
                         {"target", ColumnToJson(scaling.target_name, scaling.target_mean, scaling.target_deviation)}};
  return WriteAndRename(path, document.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace gradoracle
