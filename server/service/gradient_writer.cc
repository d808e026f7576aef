#include "server/service/gradient_writer.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "server/operations/failpoint.h"

namespace gradoracle {
namespace {

constexpr int64_t kChunkBytes = 256 * 1024;
// One unit of work is one multiply-add pair of a gradient (n * d of them); 1 ns to 0.3 ns each.
constexpr double kChunkWork = 2e8;
constexpr double kPieceWork = 4e6;

// As many gradients as `work` allows, at least 1.
int64_t GradientsWithin(double work, const GradientQuery& query);

}  // namespace

GradientWriter::GradientWriter(std::unique_ptr<AdmittedQuery> admitted, GradientStream stream, ElementType element_type,
                               const std::atomic<bool>* cancelled, OnComputed on_computed)
    : admitted_(std::move(admitted)),
      stream_(std::move(stream)),
      element_type_(element_type),
      cancelled_(cancelled),
      on_computed_(std::move(on_computed)),
      piece_(GradientsWithin(kPieceWork, admitted_->query())) {}

absl::Status GradientWriter::Write(int64_t first, int64_t k, std::string& payload) {
  const int64_t d = dimension();
  payload.resize(static_cast<size_t>(k * d) * ElementSize(element_type_));  // keeps its memory from chunk to chunk
  const bool in_place =
      element_type_ == ElementType::kFloat64 && reinterpret_cast<uintptr_t>(payload.data()) % alignof(double) == 0;
  for (int64_t done = 0; done < k;) {
    if (*cancelled_) return absl::CancelledError("the caller cancelled");
    const int64_t piece = std::min(piece_, k - done);
    char* const bytes = payload.data() + static_cast<size_t>(done * d) * ElementSize(element_type_);
    if (in_place) {
      stream_.Compute(first + done, Eigen::Map<RowMajorMatrix>(reinterpret_cast<double*>(bytes), piece, d));
    } else {
      scratch_.resize(piece, d);
      stream_.Compute(first + done, scratch_);
      EncodeGradientsTo(scratch_, element_type_, bytes);
    }
    done += piece;
    if (on_computed_) on_computed_(first + done - piece, piece);
  }
  ReachFailpoint("after_sample");
  return absl::OkStatus();
}

int64_t ChunkGradients(const GradientQuery& query, const StreamOptions& options) {
  const int64_t row_bytes = query.weights.size() * static_cast<int64_t>(ElementSize(options.element_type));
  int64_t gradients = std::min(kChunkBytes / std::max<int64_t>(1, row_bytes), GradientsWithin(kChunkWork, query));
  if (options.max_chunk_gradients > 0) gradients = std::min(gradients, options.max_chunk_gradients);
  return std::max<int64_t>(1, gradients);
}

namespace {

int64_t GradientsWithin(double work, const GradientQuery& query) {
  const double per_gradient = static_cast<double>(query.batch_size) * static_cast<double>(query.weights.size());
  return static_cast<int64_t>(std::clamp(work / std::max(1.0, per_gradient), 1.0, 1e9));
}

}  // namespace
}  // namespace gradoracle
