// The server's own sources with failpoints that work: GRADORACLE_TEST_FAILPOINT=NAME:N ends the process, as a power cut
// would, when NAME is reached for the N-th time. Linked into this test program only.
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>

#include "server/operations/failpoint.h"

namespace gradoracle {
namespace {

struct Failpoint {
  Failpoint() {
    const char* text = std::getenv("GRADORACLE_TEST_FAILPOINT");  // NOLINT(concurrency-mt-unsafe)
    const std::string value = text == nullptr ? "" : text;
    name = value.substr(0, value.find(':'));
    if (name.size() < value.size()) left = std::stoi(value.substr(name.size() + 1));
  }
  std::string name;
  std::atomic<int> left{0};
};

}  // namespace

void ReachFailpoint(const char* name) {
  static Failpoint failpoint;
  if (failpoint.name == name && --failpoint.left == 0) std::raise(SIGKILL);
}

}  // namespace gradoracle
