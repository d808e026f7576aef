#ifndef GRADORACLE_CLIENT_ESTIMATION_HESSIAN_ESTIMATOR_H_
#define GRADORACLE_CLIENT_ESTIMATION_HESSIAN_ESTIMATOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "client/estimation/estimator_name.h"
#include "client/estimation/hessian_form.h"
#include "client/estimation/shrinkage.h"
#include "client/estimation/streaming_covariance.h"
#include "core/regression_data.h"

namespace gradoracle {

// Hessian from minibatch gradients: H_hat = (n / tau^2) * sample covariance of the gradients [theory 1.1; arXiv
// 2601.18546]. Valid near the optimum, (w - w*)'H(w - w*) << n; the error bar covers sampling error only.

// A feature whose diagonal entry of the estimate exceeds the known one.
struct DiagonalExcess {
  int64_t feature = 0;
  std::string name;   // empty unless the oracle publishes names
  double excess = 0;  // H_hat_jj - 1
};

struct HessianEstimate {
  Estimator estimator = Estimator::kCovariance;  // the one that was used, never kAuto
  std::string reason;                            // why that one, in one line; empty when it was asked for
  int64_t dimension = 0;
  int64_t batch_size = 0;
  int64_t gradients = 0;  // spent in all, by every request
  double total_noise_variance = 0;
  Eigen::MatrixXd hessian;       // (d, d), symmetric; empty unless `form` is dense
  bool unit_diagonal = false;    // diag H = 1 was known and has been imposed [theory 1.4.6]
  Eigen::VectorXd raw_diagonal;  // (d), of the estimate before that
  // Features whose known diagonal hardly shows in the gradients (raw entry below a quarter of the median): the few rows
  // that carry them have not been drawn, and no limit made of these gradients can know of them. upper is then nullopt.
  std::vector<int64_t> unseen_features;
  Eigen::VectorXd mean_gradient;  // (d)
  Eigen::VectorXd eigenvalues;    // of hessian, descending
  double trace = 0;
  double effective_rank = 0;  // trace / largest eigenvalue
  // What `hessian` stands for. The other forms hold it as B (k, d), orthogonal rows, longest first:
  // 0 <= H_hat - B'B <= left_out I, known, not estimated (0 for row_space). `eigenvalues` are then those k of B'B,
  // `trace` is all of H_hat's, and no unit diagonal is imposed.
  HessianForm form = HessianForm::kDense;
  RowMajorMatrix factor;
  double left_out = 0;
  int64_t trimmed = 0;  // gradients left out as too far off (gradient_trimmer.h)
  // Set when hessian, eigenvalues, trace and effective_rank have been shrunk for inversion (shrinkage.h).
  // relative_error stays that of the estimate before: shrinking hardly changes the top eigenvalues, which make it.
  struct Shrinkage {
    ShrinkageMethod method = ShrinkageMethod::kNone;
    std::optional<double> intensity;
    std::optional<int64_t> spikes;
  };
  std::optional<Shrinkage> shrinkage;
  // Own relative error ||H_hat - H||_2 / ||H||_2 (sampling only). estimate: f mean_D / ||H_hat||; upper:
  // U / (||H_hat|| - U), U = f (mean_D + 1.5 z_level sd_D), f and D of split_limit.h [theory 1.3, split+z]; nullopt
  // when U >= ||H_hat||, or when fewer than 8 pairs of blocks have been seen.
  struct RelativeErrorLimit {
    std::optional<double> estimate;
    std::optional<double> upper;
    double level = 0.95;
  } relative_error;
  // kappa_hat of theory 1.4.2, clipped to [0, 0.49]: share of the signal in the gradients' second moment; estimates
  // q/(tau^2 + 2q). nullopt when m <= d + 2. Above 0.05 `bias_warning` says so in words.
  std::optional<double> kappa;
  std::optional<std::string> bias_warning;
  // Where the covariance was taken, (d); empty when weights played no part (probe, recordings) or many did (active).
  Eigen::VectorXd weights;
  // Features on whose diagonal distance from the optimum still shows, where diag H = 1 is known: do not trust their
  // rows. Empty when there are none, or the diagonal is not known.
  std::vector<DiagonalExcess> not_converged;
};

// Streaming, mergeable, O(d^2) memory whatever the number of gradients. Not thread-safe.
class HessianEstimator {
 public:
  struct Options {
    int64_t batch_size = 0;           // n >= 1
    double total_noise_variance = 0;  // tau^2 > 0
    // Gradients expected, for the size of the blocks of the error bar (m/32, at most 64); 0: unknown (64).
    int64_t expected_count = 0;
    // Diagonal of H is known to be one (standardised oracle): used for the bias warning, and
    bool unit_diagonal_known = false;
    // imposed on the estimate (unit_diagonal.h), if this is set as well.
    bool impose_unit_diagonal = false;
  };

  // Errors: kInvalidArgument naming the field; kResourceExhausted MEMORY_EXCEEDED (hessian_form.h).
  static absl::StatusOr<HessianEstimator> Create(int64_t dimension, const Options& options);

  // Adds gradients, shape (k, d). Errors: kInvalidArgument (dimension, non-finite entry: nothing of the block is
  // added).
  absl::Status Add(const Eigen::Ref<const RowMajorMatrix>& gradients);

  // Takes over what `other` has gathered. Errors: kInvalidArgument (dimension, batch_size, total_noise_variance
  // differ).
  absl::Status Merge(const HessianEstimator& other);

  int64_t count() const;
  int64_t dimension() const { return covariance_.dimension(); }
  const Options& options() const { return options_; }
  const StreamingCovariance& covariance() const { return covariance_; }

  // Takes up what was gathered elsewhere (estimator_state.h). Errors: those of Create.
  static absl::StatusOr<HessianEstimator> FromCovariance(StreamingCovariance covariance, const Options& options);

  // `generator` draws the random signs of the error bar. level in (0.5, 1).
  // Errors: kFailedPrecondition TOO_FEW_GRADIENTS (fewer than 2).
  absl::StatusOr<HessianEstimate> Estimate(absl::BitGenRef generator, double level) const;

 private:
  HessianEstimator(StreamingCovariance covariance, const Options& options);

  StreamingCovariance covariance_;
  Options options_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_HESSIAN_ESTIMATOR_H_
