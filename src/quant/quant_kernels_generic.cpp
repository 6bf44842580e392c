#include "quant/quant_loops.h"

namespace tetrad {

const QuantKernels* quant_kernels_generic() {
  static constexpr QuantKernels kKernels = make_quant_kernels("generic");
  return &kKernels;
}

}  // namespace tetrad
