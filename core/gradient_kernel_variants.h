#ifndef GRADORACLE_CORE_GRADIENT_KERNEL_VARIANTS_H_
#define GRADORACLE_CORE_GRADIENT_KERNEL_VARIANTS_H_

#include "core/gradient_kernel.h"

// The compiled variants behind MinibatchGradient; internal, for the dispatch and its tests.
namespace gradoracle::internal {

using GradientKernelVariant = void (*)(const GradientKernelArguments& arguments);

void MinibatchGradientX8664V2(const GradientKernelArguments& arguments);
void MinibatchGradientX8664V3(const GradientKernelArguments& arguments);
void MinibatchGradientX8664V4(const GradientKernelArguments& arguments);

}  // namespace gradoracle::internal

#endif  // GRADORACLE_CORE_GRADIENT_KERNEL_VARIANTS_H_
