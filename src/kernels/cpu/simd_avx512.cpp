#include "kernels/cpu/simd_kernels.h"

#if defined(__x86_64__)

#include "kernels/cpu/int8_avx512.h"
#include "kernels/cpu/make_simd_kernels.h"
#include "kernels/cpu/vector_avx512.h"

namespace tetrad {

const SimdKernels* simd_avx512() {
  static constexpr SimdKernels kKernels = make_simd_kernels<Avx512, Avx512WithInt8>("avx512");
  return &kKernels;
}

}  // namespace tetrad

#else

namespace tetrad {

const SimdKernels* simd_avx512() {
  return nullptr;
}

}  // namespace tetrad

#endif
