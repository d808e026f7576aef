#ifndef GRADORACLE_CORE_GRADIENT_SOURCE_H_
#define GRADORACLE_CORE_GRADIENT_SOURCE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "Eigen/Core"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/oracle_info.h"
#include "core/regression_data.h"

namespace gradoracle {

// One question: `count` minibatch gradients at `weights`, batch size n. A value; it meets each stage once.
struct GradientQuery {
  Eigen::VectorXd weights;  // (d), finite, no subnormals, ||w|| <= limits.max_weights_norm
  int64_t batch_size = 0;   // n, limits.min_batch_size <= n <= limits.max_batch_size
  int64_t count = 0;        // m, 1 <= m <= limits.max_count
  // Total noise variance wanted instead of the rule's: one of noise.extra_variances. Unset: the oracle's rule.
  std::optional<double> total_noise_variance;
  // Switch targets and weights off: g = X_B' xi / n with Var xi = n (theory 1.4.7). Only where noise.curvature_probe.
  bool curvature_probe = false;
  // Names the request for retries, at most 128 printable ASCII characters; empty: unnamed, cannot be retried or
  // resumed.
  std::string request_id;
};

// Receives consecutive blocks of k gradients, shape (k, d), k >= 1, in order; the block is valid during the call only.
// A status other than OK stops the source, which returns that status.
using GradientSink = absl::FunctionRef<absl::Status(const Eigen::Ref<const RowMajorMatrix>& block)>;

// Whatever answers gradient queries: a remote oracle, an in-process engine, a file of recorded gradients. Estimators,
// optimisers and attacks know nothing else.
class GradientSource {
 public:
  virtual ~GradientSource() = default;

  virtual absl::StatusOr<OracleInfo> Info() = 0;

  // Delivers query.count gradients into `sink`, never holding more than a bounded number of them.
  // Blocks until done, refused, or stopped by the sink.
  virtual absl::Status Gradients(const GradientQuery& query, GradientSink sink) = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_GRADIENT_SOURCE_H_
