#include "quant/search_loops.h"

namespace tetrad {

const SearchKernels* search_kernels_generic() {
  static constexpr SearchKernels kKernels = make_search_kernels("generic");
  return &kKernels;
}

}  // namespace tetrad
