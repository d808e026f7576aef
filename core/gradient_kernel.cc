#include "core/gradient_kernel.h"

#include "core/gradient_kernel_variants.h"
#include "core/instruction_set.h"

namespace gradoracle {
namespace {

struct Choice {
  internal::GradientKernelVariant variant;
  const char* name;
};

Choice Choose() {
  if (internal::CpuSupportsX8664V4()) return {internal::MinibatchGradientX8664V4, "x86-64-v4"};
  if (internal::CpuSupportsX8664V3()) return {internal::MinibatchGradientX8664V3, "x86-64-v3"};
  return {internal::MinibatchGradientX8664V2, "x86-64-v2"};
}

const Choice& Chosen() {
  static const Choice choice = Choose();
  return choice;
}

}  // namespace

void MinibatchGradient(const GradientKernelArguments& arguments) { Chosen().variant(arguments); }

const char* GradientKernelName() { return Chosen().name; }

}  // namespace gradoracle
