#include "quant/search_kernels.h"

#if defined(__x86_64__)
#include "quant/search_loops.h"
#endif

namespace tetrad {

const SearchKernels* search_kernels_avx2() {
#if defined(__x86_64__)
  static constexpr SearchKernels kKernels = make_search_kernels("avx2");
  return &kKernels;
#else
  return nullptr;
#endif
}

}  // namespace tetrad
