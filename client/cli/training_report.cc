#include "client/cli/training_report.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

nlohmann::ordered_json Number(const std::optional<double>& value) {
  return value.has_value() ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

std::string StopName(TrainingStop stop) {
  switch (stop) {
    case TrainingStop::kTargetReached:
      return "target reached";
    case TrainingStop::kCountSpent:
      return "count spent";
    case TrainingStop::kInterrupted:
      return "interrupted";
    case TrainingStop::kDiverged:
      return "diverged";
    case TrainingStop::kNone:
      break;
  }
  return "failed";
}

std::string Csv(const TrainingResult& result) {
  const auto number = [](const std::optional<double>& value) {
    return value.has_value() ? absl::StrFormat("%.17g", *value) : std::string();
  };
  std::string text = "steps,gradients,gradient_norm,step_size,excess_risk,excess_risk_upper\n";
  for (const TrainingPoint& point : result.record) {
    absl::StrAppendFormat(&text, "%d,%d,%.17g,%.17g,%s,%s\n", point.steps, point.gradients, point.gradient_norm,
                          point.step_size, number(point.excess_risk.estimate), number(point.excess_risk.upper));
  }
  return text;
}

std::string Json(const TrainingResult& result) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const TrainingPoint& point : result.record) {
    list.push_back({{"steps", point.steps},
                    {"gradients", point.gradients},
                    {"gradient_norm", point.gradient_norm},
                    {"step_size", point.step_size},
                    {"excess_risk",
                     {{"estimate", Number(point.excess_risk.estimate)}, {"upper", Number(point.excess_risk.upper)}}}});
  }
  return list.dump(1) + "\n";
}

std::string Temporary(const std::string& path) { return absl::StrCat(path, ".tmp-", getpid()); }

absl::Status Unwritable(const std::string& path) {
  return InvalidField("RECORD_UNWRITABLE", "record", absl::StrCat("record: cannot write ", path));
}

}  // namespace

nlohmann::ordered_json TrainingJson(const TrainingResult& result, double seconds) {
  nlohmann::ordered_json json = {{"method", std::string(TrainingMethodName(result.method))}};
  if (!result.reason.empty()) json["reason"] = result.reason;
  json["steps"] = result.steps;
  json["gradients"] = result.gradients;
  json["curvature_gradients"] = result.curvature_gradients;
  json["gradient_norm"] = result.gradient_norm;
  json["excess_risk"] = {{"estimate", Number(result.excess_risk.estimate)},
                         {"upper", Number(result.excess_risk.upper)},
                         {"level", result.excess_risk.level}};
  json["stopped"] = StopName(result.stop);
  if (!result.warning.empty()) json["warning"] = result.warning;
  json["seconds"] = seconds;
  return json;
}

std::string TrainingText(const TrainingResult& result, double seconds) {
  std::string text;
  absl::StrAppendFormat(&text, "method        %s\n", std::string(TrainingMethodName(result.method)));
  absl::StrAppendFormat(&text, "gradients     %d (%d for curvature), %d steps, %.3g s\n", result.gradients,
                        result.curvature_gradients, result.steps, seconds);
  absl::StrAppendFormat(&text, "gradient norm %.3g\n", result.gradient_norm);
  if (result.excess_risk.estimate.has_value()) {
    absl::StrAppendFormat(&text, "excess risk   about %.3g", *result.excess_risk.estimate);
    if (result.excess_risk.upper.has_value()) {
      absl::StrAppendFormat(&text, ", at most %.3g with confidence %.3g\n", *result.excess_risk.upper,
                            result.excess_risk.level);
    } else {
      text += "; sgd gives no limit: use --method mixed for one\n";
    }
  } else {
    text += "excess risk   not known: too few gradients, or a noise variance that the oracle does not tell\n";
  }
  absl::StrAppend(&text, "stopped       ", StopName(result.stop), "\n");
  return text;
}

std::string TrainingProgress(const TrainingPoint& point) {
  std::string text = absl::StrCat(point.gradients, " gradients, ", point.steps, " steps");
  if (point.excess_risk.estimate.has_value()) {
    absl::StrAppendFormat(&text, ", excess risk %.2g", *point.excess_risk.estimate);
    if (point.excess_risk.upper.has_value()) absl::StrAppendFormat(&text, " (at most %.2g)", *point.excess_risk.upper);
  } else {
    absl::StrAppendFormat(&text, ", gradient norm %.2g", point.gradient_norm);
  }
  return text;
}

absl::Status CheckRecordPath(const std::string& path) {
  if (absl::EndsWith(path, ".csv") || absl::EndsWith(path, ".json")) return absl::OkStatus();
  return InvalidField("RECORD_FORMAT_UNKNOWN", "record",
                      absl::StrCat("record is '", path, "', but must end in .csv or .json"));
}

absl::StatusOr<TrainingRecordWriter> TrainingRecordWriter::Create(const std::string& path) {
  auto file = std::make_unique<std::ofstream>(Temporary(path), std::ios::binary);
  std::error_code ignored;
  if (file->good() && !std::filesystem::is_directory(path, ignored)) return TrainingRecordWriter(path, std::move(file));
  if (file->good()) std::remove(Temporary(path).c_str());
  return Unwritable(path);
}

TrainingRecordWriter::~TrainingRecordWriter() {
  if (file_ != nullptr) std::remove(Temporary(path_).c_str());
}

absl::Status TrainingRecordWriter::Finish(const TrainingResult& result) {
  *file_ << (absl::EndsWith(path_, ".csv") ? Csv(result) : Json(result));
  file_->close();
  if (!file_->good() || std::rename(Temporary(path_).c_str(), path_.c_str()) != 0) return Unwritable(path_);
  file_.reset();
  return absl::OkStatus();
}

}  // namespace gradoracle
