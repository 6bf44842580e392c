#include "quant/search_kernels.h"

#include <array>
#include <cstddef>

namespace tetrad {

const SearchKernels* const* available_search_kernels() {
  static const std::array<const SearchKernels*, 4> kAvailable = [] {
    std::array<const SearchKernels*, 4> found{};
    std::size_t count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      found[count++] = search_kernels_avx512();
    }
    if (__builtin_cpu_supports("avx2")) found[count++] = search_kernels_avx2();
#endif
    found[count] = search_kernels_generic();
    return found;
  }();
  return kAvailable.data();
}

}  // namespace tetrad
