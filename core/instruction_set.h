#ifndef GRADORACLE_CORE_INSTRUCTION_SET_H_
#define GRADORACLE_CORE_INSTRUCTION_SET_H_

// Which instruction sets the processor (and the operating system) allow. Internal to core: the hot loops are compiled
// once for each of x86-64-v2, -v3 (AVX2, FMA) and -v4 (AVX-512), and chosen by this. v2 is required to run at all.
namespace gradoracle::internal {

inline bool CpuSupportsX8664V3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}

inline bool CpuSupportsX8664V4() {
  return CpuSupportsX8664V3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace gradoracle::internal

#endif  // GRADORACLE_CORE_INSTRUCTION_SET_H_
