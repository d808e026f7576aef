#ifndef GRADORACLE_CLIENT_CLI_TRAINING_REPORT_H_
#define GRADORACLE_CLIENT_CLI_TRAINING_REPORT_H_

#include <string>

#include "absl/status/status.h"
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
// Writes the record as a table (.csv: a header and a line each) or a list of objects (.json), renamed into place.
// Errors: kUnavailable RECORD_UNWRITABLE.
absl::Status WriteTrainingRecord(const std::string& path, const TrainingResult& result);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_TRAINING_REPORT_H_
