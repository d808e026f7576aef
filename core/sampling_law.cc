#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/sampling.h"

// The laws of the samplings; drawing is in core/sampling.cc.
namespace gradoracle {
namespace {

constexpr Sampling kSamplings[] = {Sampling::kIid, Sampling::kWithoutReplacement, Sampling::kShuffledEpochs,
                                   Sampling::kPoisson};

// Probability that two different gradients of a request of `count` come from different epochs of `batches` batches:
// ordered pairs apart / ordered pairs.
double ProbabilityOfDifferentEpochs(double count, double batches_per_epoch, double whole_epochs) {
  const double rest = count - whole_epochs * batches_per_epoch;
  const double pairs_apart = count * count - whole_epochs * batches_per_epoch * batches_per_epoch - rest * rest;
  return pairs_apart / (count * (count - 1));
}

}  // namespace

absl::string_view SamplingName(Sampling sampling) {
  switch (sampling) {
    case Sampling::kIid:
      return "iid";
    case Sampling::kWithoutReplacement:
      return "without_replacement";
    case Sampling::kShuffledEpochs:
      return "shuffled_epochs";
    case Sampling::kPoisson:
      return "poisson";
  }
  return "unknown";
}

absl::StatusOr<Sampling> ParseSampling(absl::string_view name) {
  for (const Sampling sampling : kSamplings) {
    if (name == SamplingName(sampling)) return sampling;
  }
  return InvalidField(
      "SAMPLING_UNKNOWN", "sampling",
      absl::StrCat("--sampling is \"", name, "\"; must be one of iid, without_replacement, shuffled_epochs, poisson"));
}

int64_t LargestBatchSize(Sampling sampling, int64_t row_count) {
  if (sampling == Sampling::kIid || sampling == Sampling::kPoisson) return row_count;
  return std::min(row_count, std::max<int64_t>(1, row_count / 2));
}

double SamplingVarianceFactor(Sampling sampling, int64_t row_count, int64_t batch_size, int64_t count) {
  // With a single row there is no variance for the factor to scale.
  if (sampling == Sampling::kIid || row_count <= 1) return 1.0;
  const double rows = static_cast<double>(row_count);
  const double batch = static_cast<double>(batch_size);
  if (sampling == Sampling::kPoisson) return 1 - batch / rows;
  if (sampling == Sampling::kWithoutReplacement) return (rows - batch) / (rows - 1);
  const int64_t batches_per_epoch = row_count / batch_size;
  if (count <= batches_per_epoch) return rows / (rows - 1);
  const int64_t whole_epochs = count / batches_per_epoch;
  const double apart = ProbabilityOfDifferentEpochs(static_cast<double>(count), static_cast<double>(batches_per_epoch),
                                                    static_cast<double>(whole_epochs));
  return (rows - batch * apart) / (rows - 1);
}

double LargestSamplingVarianceFactor(Sampling sampling, int64_t row_count, int64_t batch_size) {
  return SamplingVarianceFactor(sampling, row_count, batch_size, /*count=*/1);
}

}  // namespace gradoracle
