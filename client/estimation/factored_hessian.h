#ifndef GRADORACLE_CLIENT_ESTIMATION_FACTORED_HESSIAN_H_
#define GRADORACLE_CLIENT_ESTIMATION_FACTORED_HESSIAN_H_

#include <cstdint>
#include <variant>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/estimation/hessian_estimator.h"
#include "client/estimation/hessian_form.h"
#include "client/estimation/row_space.h"
#include "client/estimation/scatter_sketch.h"
#include "core/regression_data.h"

namespace gradoracle {

// The Hessian of hessian_estimator.h where d is too large for a (d, d) matrix: H_hat = (n / tau^2) Cov(g) is returned
// as a factor B of few rows, H_hat ~ B'B (HessianEstimate::factor). Products H_hat v = B'(B v) cost O(k d).
// relative_error.upper = U / (||B'B||_2 - U) with U the sampling limit of theory 1.3, as ever, plus for a sketch what
// it may have left out of the Hessian and of the split differences. No kappa, no bias warning. Not thread-safe.
class FactoredHessianEstimator {
 public:
  struct Options {
    HessianForm form = HessianForm::kSketch;   // kRowSpace or kSketch
    int64_t batch_size = 0;                    // n >= 1
    double total_noise_variance = 0;           // tau^2 > 0
    int64_t expected_count = 0;                // m; kRowSpace keeps room for just as many, kSketch takes 0 for unknown
    int64_t sketch_rows = kDefaultSketchRows;  // l >= 1, for kSketch; more than the effective rank is a good value
  };

  // Errors: kInvalidArgument naming the field; kResourceExhausted MEMORY_EXCEEDED before anything is allocated.
  static absl::StatusOr<FactoredHessianEstimator> Create(int64_t dimension, const Options& options);

  // Adds gradients, shape (k, d). Errors: kInvalidArgument; kOutOfRange COUNT_TOO_LARGE (kRowSpace).
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients);

  int64_t count() const;

  // The estimate, and with it this object's memory: it is empty afterwards. `generator` draws the signs of the error
  // limit. level in (0.5, 1). Errors: kFailedPrecondition TOO_FEW_GRADIENTS (fewer than 2).
  absl::StatusOr<HessianEstimate> TakeEstimate(absl::BitGenRef generator, double level);

 private:
  using Scatter = std::variant<RowSpace, ScatterSketch>;
  FactoredHessianEstimator(Scatter scatter, const Options& options);

  Scatter scatter_;
  Options options_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_FACTORED_HESSIAN_H_
