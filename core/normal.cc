#include "core/normal.h"

#include <cassert>

#include "core/instruction_set.h"
#include "core/normal_variants.h"

namespace gradoracle {
namespace {

internal::NormalVariant ChooseVariant() {
  if (internal::CpuSupportsX8664V4()) return internal::StandardNormalX8664V4;
  if (internal::CpuSupportsX8664V3()) return internal::StandardNormalX8664V3;
  return internal::StandardNormalX8664V2;
}

}  // namespace

void StandardNormalFromWords(absl::Span<const uint64_t> words, absl::Span<double> out) {
  assert(words.size() == out.size());
  static const internal::NormalVariant variant = ChooseVariant();
  variant(words.data(), out.data(), words.size());
}

}  // namespace gradoracle
