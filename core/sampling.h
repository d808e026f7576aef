#ifndef GRADORACLE_CORE_SAMPLING_H_
#define GRADORACLE_CORE_SAMPLING_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/random_stream.h"

namespace gradoracle {

// How the rows of a batch are drawn from the N rows.
enum class Sampling {
  kIid,                 // uniformly, with replacement
  kWithoutReplacement,  // uniformly, distinct within a batch, batches independent
  kShuffledEpochs,  // an epoch is a random permutation cut into floor(N/n) batches; an epoch lives within one request
  kPoisson,         // every row by itself, with probability n/N: batches have n rows in the mean, and may be empty
};

absl::string_view SamplingName(Sampling sampling);  // "iid", "without_replacement", "shuffled_epochs", "poisson"
absl::StatusOr<Sampling> ParseSampling(absl::string_view name);  // kInvalidArgument listing the names

// Largest batch a sampling admits: N for iid and poisson, floor(N/2) otherwise (but 1 when N = 1).
int64_t LargestBatchSize(Sampling sampling, int64_t row_count);

// Exact factor f such that the sample covariance (divisor count - 1, centred at its own mean over the whole request) of
// the rows' part of `count` gradients has expectation f * Cov_N(h) / n, Cov_N with divisor N (theory 1.4.5):
//   iid                  1
//   without_replacement  (N - n) / (N - 1)
//   shuffled_epochs      (N - n p) / (N - 1), where p is the probability that two different gradients of the request
//   lie
//                        in different epochs: with K = floor(N/n), E = floor(count/K) and q = count - E K,
//                        p = (count^2 - E K^2 - q^2) / (count (count - 1)); p = 0, f = N / (N - 1), for count <= K
//                        (taken for count == 1 as well)
//   poisson              1 - n/N, and of the second moment of h in place of Cov_N(h)
// Derivation: E(sample covariance) = Var(g) - mean over pairs a != b of Cov(g_a, g_b). Sampling without replacement
// gives Var(g) = (Cov_N/n) (N - n)/(N - 1) and, for two disjoint batches of one epoch, Cov(g_a, g_b) = -Cov_N/(N - 1);
// batches of different epochs are independent. So f = [(N - n) + n (1 - p)] / (N - 1).
// Requires 1 <= n <= LargestBatchSize, count >= 1.
double SamplingVarianceFactor(Sampling sampling, int64_t row_count, int64_t batch_size, int64_t count);

// The largest SamplingVarianceFactor of any count at this batch size: 1, (N - n) / (N - 1), N / (N - 1); 1 when N = 1.
// Never increasing in n.
double LargestSamplingVarianceFactor(Sampling sampling, int64_t row_count, int64_t batch_size);

// Draws batches for one request. Not thread-safe: one sampler per stream of gradients.
// Row draws are multiply-shift of 64 random bits, a fixed number of words per row and no rejection: the deviation from
// uniform is below N / 2^64 per row, and time does not depend on what was drawn.
class RowSampler {
 public:
  // Requires 1 <= batch_size <= LargestBatchSize(sampling, row_count), row_count < 2^32.
  RowSampler(Sampling sampling, int64_t row_count, int64_t batch_size);

  // Writes the rows (0-based) of gradient `index` of the request that `random` belongs to; rows.size() == batch_size.
  // Depends on (random, index) alone, whatever was drawn before. Not for poisson.
  void Draw(RandomStream& random, int64_t index, absl::Span<uint32_t> rows);
  // The same for every sampling: `rows` becomes the batch.
  void DrawBatch(RandomStream& random, int64_t index, std::vector<uint32_t>& rows);

 private:
  Sampling sampling_;
  uint64_t row_count_;
  int64_t batch_size_;
  std::vector<uint64_t> words_;
  std::vector<uint32_t> permutation_;  // identity between calls (without_replacement) or the epoch in `epoch_`
  int64_t epoch_ = -1;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_SAMPLING_H_
