#ifndef GRADORACLE_CORE_VERSION_H_
#define GRADORACLE_CORE_VERSION_H_

#include <string>

namespace gradoracle {

// Version of this build, semantic versioning with the commit as build metadata: "0.1.0+86970ea". The commit is that of
// the checkout when CMake configured it, and is left out ("0.1.0") when it was not a checkout.
std::string VersionString();

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_VERSION_H_
