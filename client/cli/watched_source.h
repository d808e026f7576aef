#ifndef GRADORACLE_CLIENT_CLI_WATCHED_SOURCE_H_
#define GRADORACLE_CLIENT_CLI_WATCHED_SOURCE_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "client/cli/environment.h"
#include "client/cli/progress.h"
#include "core/gradient_source.h"
#include "core/npy_file.h"

namespace gradoracle {

// A source looked over the shoulder of: what goes through it is counted, timed, shown as progress on a terminal and,
// if wanted, recorded; and it remembers whose fault an error was. For commands that leave the asking to a library.
class WatchedSource : public GradientSource {
 public:
  // All must outlive this. `recording` may be null. `total`: gradients expected over all requests.
  WatchedSource(GradientSource& source, int64_t total, NpyWriter* recording, Environment& environment);

  absl::StatusOr<OracleInfo> Info() override { return source_.Info(); }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override;

  bool asked() const { return start_.has_value(); }
  int64_t count() const { return count_; }
  int64_t dimension() const { return dimension_; }
  double seconds() const { return start_.has_value() ? absl::ToDoubleSeconds(last_ - *start_) : 0; }
  bool source_failed() const { return source_failed_; }  // the last error was the source's own, not the sink's

  void EndProgress() { progress_.reset(); }

 private:
  GradientSource& source_;
  int64_t total_;
  NpyWriter* recording_;
  Environment& environment_;
  std::optional<Progress> progress_;
  std::optional<absl::Time> start_;
  absl::Time last_;
  int64_t count_ = 0;
  int64_t dimension_ = 0;
  bool source_failed_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_WATCHED_SOURCE_H_
