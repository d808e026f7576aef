#ifndef GRADORACLE_CLIENT_CLI_TRAINING_REPORT_H_
#define GRADORACLE_CLIENT_CLI_TRAINING_REPORT_H_

#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/optimise/trainer.h"
#include "nlohmann/json.hpp"

namespace gradoracle {

// Keys of the contract of `gradoracle train --json`; what is not known is null.
nlohmann::ordered_json TrainingJson(const TrainingResult& result, double seconds);
// The same for people.
std::string TrainingText(const TrainingResult& result, double seconds);
// "1204 gradients, excess risk 0.0021 (at most 0.0034)": one line of progress.
std::string TrainingProgress(const TrainingPoint& point);

// Whether `path` ends in .csv or .json. Errors: kInvalidArgument RECORD_FORMAT_UNKNOWN, field `record`.
absl::Status CheckRecordPath(const std::string& path);

// The file of a training's record, opened before the training, which may cost a budget.
class TrainingRecordWriter {
 public:
  // Opens a temporary file beside `path`. Errors: kInvalidArgument RECORD_UNWRITABLE, field `record`.
  static absl::StatusOr<TrainingRecordWriter> Create(const std::string& path);
  TrainingRecordWriter(TrainingRecordWriter&& other) noexcept = default;
  ~TrainingRecordWriter();  // leaves nothing unless finished

  // Writes the record as a table (.csv: a header and a line each) or a list of objects (.json), and renames it into
  // place. Errors: those of Create.
  absl::Status Finish(const TrainingResult& result);

 private:
  TrainingRecordWriter(const std::string& path, std::unique_ptr<std::ofstream> file)
      : path_(path), file_(std::move(file)) {}

  std::string path_;
  std::unique_ptr<std::ofstream> file_;  // null once finished, or moved from
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_TRAINING_REPORT_H_
