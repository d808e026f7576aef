#include "core/version.h"

#include "version_numbers.h"  // configured from version_numbers.h.in into the build folder

namespace gradoracle {

std::string VersionString() {
  const std::string version = GRADORACLE_VERSION;
  const std::string commit = GRADORACLE_COMMIT;
  return commit.empty() ? version : version + "+" + commit;
}

}  // namespace gradoracle
