#include "kernels/cpu/int8_generic.h"
#include "kernels/cpu/make_simd_kernels.h"
#include "kernels/cpu/vector_generic.h"

namespace tetrad {

const SimdKernels* simd_generic() {
  static constexpr SimdKernels kKernels = make_simd_kernels<Generic, GenericWithInt8>("generic");
  return &kKernels;
}

}  // namespace tetrad
