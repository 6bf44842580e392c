#pragma once

namespace tetrad {

// What the processor has of what loops are compiled for. Loops that need more than a group ask for
// the rest themselves.

/// AVX2 and FMA: Haswell, Zen.
inline bool processor_has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

/// AVX-512 F, BW, DQ and VL: Skylake-X, Zen 4.
inline bool processor_has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

}  // namespace tetrad
