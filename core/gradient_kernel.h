#ifndef GRADORACLE_CORE_GRADIENT_KERNEL_H_
#define GRADORACLE_CORE_GRADIENT_KERNEL_H_

#include <cstddef>
#include <cstdint>

// The hot loop of the oracle, free of Eigen so that it can be compiled once per instruction set (x86-64-v2, -v3, -v4)
// and chosen at run time. All variants agree to a few ulp, not to the bit; one process always uses one variant.
namespace gradoracle {

struct GradientKernelArguments {
  const double* features;  // (N, d) row-major
  const double* targets;   // (N); nullptr: targets and weights switched off (curvature probe): residual = -noise
  const double* weights;   // (d)
  size_t dimension;        // d >= 1
  const uint32_t* rows;    // (n) row indices
  const double* noise;     // (n) xi; nullptr: no noise
  size_t batch_size;       // n >= 1
  double* gradient;        // (d) out: (1/n) sum_i x_i (x_i'w - y_i - xi_i)
};

void MinibatchGradient(const GradientKernelArguments& arguments);

// Name of the variant in use: "x86-64-v2", "x86-64-v3" or "x86-64-v4".
const char* GradientKernelName();

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_GRADIENT_KERNEL_H_
