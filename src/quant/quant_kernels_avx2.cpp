#include "quant/quant_kernels.h"

#if defined(__x86_64__)
#include "quant/quant_loops.h"
#endif

namespace tetrad {

const QuantKernels* quant_kernels_avx2() {
#if defined(__x86_64__)
  static constexpr QuantKernels kKernels = make_quant_kernels("avx2");
  return &kKernels;
#else
  return nullptr;
#endif
}

}  // namespace tetrad
