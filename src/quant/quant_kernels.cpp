#include "quant/quant_kernels.h"

#include <array>
#include <cstddef>

#include "base/cpu_features.h"

namespace tetrad {

const QuantKernels* const* available_quant_kernels() {
  static const std::array<const QuantKernels*, 4> kAvailable = [] {
    std::array<const QuantKernels*, 4> found{};
    std::size_t count = 0;
    if (processor_has_avx512()) found[count++] = quant_kernels_avx512();
#if defined(__x86_64__)
    // They do without FMA.
    if (__builtin_cpu_supports("avx2")) found[count++] = quant_kernels_avx2();
#endif
    found[count] = quant_kernels_generic();
    return found;
  }();
  return kAvailable.data();
}

}  // namespace tetrad
