#include "quant/correction_kernels.h"

namespace tetrad {

const CorrectionKernels& correction_kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return *correction_kernels_avx512();
  }
  if (__builtin_cpu_supports("avx2")) return *correction_kernels_avx2();
#endif
  return *correction_kernels_generic();
}

}  // namespace tetrad
