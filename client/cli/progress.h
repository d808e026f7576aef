#ifndef GRADORACLE_CLIENT_CLI_PROGRESS_H_
#define GRADORACLE_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/time/time.h"

namespace gradoracle {

// "1024 of 4096 gradients, 5120 per second, 0.6 s left".  elapsed > 0, done > 0.
std::string ProgressLine(int64_t done, int64_t total, absl::Duration elapsed);

// One line on a terminal, rewritten at most ten times a second, from one second on; gone when the object is.
class Progress {
 public:
  Progress(std::ostream* terminal, int64_t total, absl::Time start);  // terminal may be null: then silent
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(int64_t done, absl::Time now);

 private:
  std::ostream* terminal_;
  int64_t total_;
  absl::Time start_;
  absl::Time next_;
  bool shown_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_PROGRESS_H_
