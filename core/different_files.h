#ifndef GRADORACLE_CORE_DIFFERENT_FILES_H_
#define GRADORACLE_CORE_DIFFERENT_FILES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace gradoracle {

// No file of a command is written over another of the same command, under whatever name. files: (field, path); an empty
// path is no file. Errors: kInvalidArgument SAME_FILE, the field that of the second of two.
absl::Status CheckDifferentFiles(const std::vector<std::pair<std::string, std::string>>& files);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_DIFFERENT_FILES_H_
