#include "quant/correction_kernels.h"

#if defined(__x86_64__)
#include "quant/correction_loops.h"
#endif

namespace tetrad {

const CorrectionKernels* correction_kernels_avx512() {
#if defined(__x86_64__)
  return &kInstance;
#else
  return nullptr;
#endif
}

}  // namespace tetrad
