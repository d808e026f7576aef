#include "client/cli/progress.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace gradoracle {
namespace {

constexpr const char* kEraseLine = "\r\x1b[K";

}  // namespace

std::string ProgressLine(int64_t done, int64_t total, absl::Duration elapsed) {
  const double rate = static_cast<double>(done) / absl::ToDoubleSeconds(elapsed);
  const double left = static_cast<double>(total - done) / rate;
  return absl::StrFormat("%d of %d gradients, %.0f per second, %.*f s left", done, total, rate, left < 10 ? 1 : 0,
                         left);
}

Progress::Progress(std::ostream* terminal, int64_t total, absl::Time start)
    : terminal_(terminal), total_(total), start_(start), next_(start + absl::Seconds(1)) {}

Progress::~Progress() {
  if (shown_) *terminal_ << kEraseLine << std::flush;
}

void Progress::Update(int64_t done, absl::Time now) {
  if (terminal_ == nullptr || now < next_ || done == 0) return;
  // One write: standard error is unbuffered, and an erased line should not be seen.
  *terminal_ << absl::StrCat(kEraseLine, ProgressLine(done, total_, now - start_)) << std::flush;
  shown_ = true;
  next_ = now + absl::Milliseconds(100);
}

}  // namespace gradoracle
