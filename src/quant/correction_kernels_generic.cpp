#include "quant/correction_loops.h"

namespace tetrad {

const CorrectionKernels* correction_kernels_generic() {
  return &kInstance;
}

}  // namespace tetrad
