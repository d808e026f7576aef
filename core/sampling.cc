#include "core/sampling.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

namespace gradoracle {
namespace {

// floor(word * bound / 2^64): uniform on [0, bound) up to bound / 2^64, without a rejection.
uint64_t Below(uint64_t word, uint64_t bound) {
  __extension__ using Word128 = unsigned __int128;
  return static_cast<uint64_t>(Word128{word} * bound >> 64);
}

}  // namespace

RowSampler::RowSampler(Sampling sampling, int64_t row_count, int64_t batch_size)
    : sampling_(sampling), row_count_(static_cast<uint64_t>(row_count)), batch_size_(batch_size) {
  assert(1 <= batch_size && batch_size <= row_count && row_count < int64_t{1} << 32);
}

void RowSampler::DrawBatch(RandomStream& random, int64_t index, std::vector<uint32_t>& rows) {
  if (sampling_ != Sampling::kPoisson) {
    rows.resize(static_cast<size_t>(batch_size_));
    return Draw(random, index, absl::MakeSpan(rows));
  }
  words_.resize(row_count_);
  random.Fill(RandomPurpose::kRows, static_cast<uint64_t>(index), absl::MakeSpan(words_));
  rows.clear();
  for (uint64_t i = 0; i < row_count_; ++i) {
    if (Below(words_[i], row_count_) < static_cast<uint64_t>(batch_size_)) rows.push_back(static_cast<uint32_t>(i));
  }
}

void RowSampler::Draw(RandomStream& random, int64_t index, absl::Span<uint32_t> rows) {
  assert(index >= 0 && static_cast<int64_t>(rows.size()) == batch_size_ && sampling_ != Sampling::kPoisson);
  const auto batch_size = static_cast<uint64_t>(batch_size_);

  if (sampling_ == Sampling::kShuffledEpochs) {
    const int64_t batches_per_epoch = static_cast<int64_t>(row_count_ / batch_size);
    const int64_t epoch = index / batches_per_epoch;
    if (epoch != epoch_) {
      words_.resize(row_count_);
      permutation_.resize(row_count_);
      std::iota(permutation_.begin(), permutation_.end(), uint32_t{0});
      random.Fill(RandomPurpose::kEpoch, static_cast<uint64_t>(epoch), absl::MakeSpan(words_));
      for (uint64_t i = 0; i < row_count_; ++i) {
        std::swap(permutation_[i], permutation_[i + Below(words_[i], row_count_ - i)]);
      }
      epoch_ = epoch;
    }
    const uint32_t* first = permutation_.data() + (index % batches_per_epoch) * batch_size_;
    std::copy(first, first + batch_size, rows.begin());
    return;
  }

  words_.resize(batch_size);
  random.Fill(RandomPurpose::kRows, static_cast<uint64_t>(index), absl::MakeSpan(words_));
  if (sampling_ == Sampling::kIid) {
    for (uint64_t i = 0; i < batch_size; ++i) rows[i] = static_cast<uint32_t>(Below(words_[i], row_count_));
    return;
  }

  // Partial Fisher-Yates, undone afterwards: every call starts from the identity, so that it depends on nothing else.
  if (permutation_.empty()) {
    permutation_.resize(row_count_);
    std::iota(permutation_.begin(), permutation_.end(), uint32_t{0});
  }
  for (uint64_t i = 0; i < batch_size; ++i) {
    const uint64_t other = i + Below(words_[i], row_count_ - i);
    std::swap(permutation_[i], permutation_[other]);
    rows[i] = permutation_[i];
    words_[i] = other;
  }
  for (uint64_t i = batch_size; i-- > 0;) std::swap(permutation_[i], permutation_[words_[i]]);
}

}  // namespace gradoracle
