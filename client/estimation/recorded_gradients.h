#ifndef GRADORACLE_CLIENT_ESTIMATION_RECORDED_GRADIENTS_H_
#define GRADORACLE_CLIENT_ESTIMATION_RECORDED_GRADIENTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "core/gradient_source.h"
#include "core/npy_file.h"

namespace gradoracle {

// Gradients recorded earlier, at one point and one batch size (`gradoracle query --out`), as a GradientSource. The file
// tells nothing but the numbers, so that a query's weights, batch size and noise are taken on trust and ignored.
// Not thread-safe. Reads block by block: a recording may be larger than memory.
class RecordedGradients : public GradientSource {
 public:
  // From a .npy of shape (m, d). Errors: those of NpyReader::Open; kInvalidArgument NO_GRADIENTS (m or d is 0, or not
  // two dimensions).
  static absl::StatusOr<std::unique_ptr<RecordedGradients>> Open(const std::string& path);

  int64_t count() const { return reader_.rows(); }

  // Names the contents: SHA-256, in hex, chained over the gradients as float64, 256 KiB at a time. The same for the
  // same numbers in another file or type. Reads everything. Errors: those of reading.
  absl::StatusOr<std::string> Digest() const;

  // dimension and limits.max_count are those of the recording; nothing else is known.
  absl::StatusOr<OracleInfo> Info() override;

  // The first query.count gradients, in blocks of at most 256 KiB.
  // Errors: kOutOfRange COUNT_TOO_LARGE (more than recorded), kInvalidArgument COUNT_NOT_POSITIVE; those of reading.
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override;

 private:
  explicit RecordedGradients(NpyReader reader) : reader_(std::move(reader)) {}

  NpyReader reader_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_RECORDED_GRADIENTS_H_
