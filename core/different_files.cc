#include "core/different_files.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace gradoracle {

absl::Status CheckDifferentFiles(const std::vector<std::pair<std::string, std::string>>& files) {
  for (size_t second = 0; second < files.size(); ++second) {
    for (size_t first = 0; first < second; ++first) {
      if (files[first].second.empty() || files[second].second.empty()) continue;
      const auto resolved = [](const std::string& path) {
        std::error_code ignored;
        return std::filesystem::weakly_canonical(std::filesystem::absolute(path, ignored), ignored);
      };
      if (resolved(files[first].second) != resolved(files[second].second)) continue;
      return InvalidField("SAME_FILE", files[second].first,
                          absl::StrCat(files[second].first, " is '", files[second].second, "', the same file as ",
                                       files[first].first, "; give another name"));
    }
  }
  return absl::OkStatus();
}

}  // namespace gradoracle
