#include "kernels/cpu/simd_kernels.h"

#if defined(__x86_64__)

#include "kernels/cpu/int8_avx2.h"
#include "kernels/cpu/make_simd_kernels.h"
#include "kernels/cpu/vector_avx2.h"

namespace tetrad {

const SimdKernels* simd_avx2() {
  static constexpr SimdKernels kKernels = make_simd_kernels<Avx2, Avx2WithInt8>("avx2");
  return &kKernels;
}

}  // namespace tetrad

#else

namespace tetrad {

const SimdKernels* simd_avx2() {
  return nullptr;
}

}  // namespace tetrad

#endif
