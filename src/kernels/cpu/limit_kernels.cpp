#include "kernels/cpu/limit_kernels.h"

#include <array>
#include <cstddef>

#include "base/cpu_features.h"

namespace tetrad {
namespace {

struct AvailableLimits {
  AvailableLimits();

  LimitKernels extended;                          // AVX-512 with what else there is
  std::array<const LimitKernels*, 5> found = {};  // null behind the last
};

AvailableLimits::AvailableLimits() {
  size_t count = 0;
#if defined(__x86_64__)
  if (processor_has_avx512() && __builtin_cpu_supports("avx512vbmi")) {
    const bool vnni = __builtin_cpu_supports("avx512vnni");
    const bool bf16 = __builtin_cpu_supports("avx512bf16");
    extended = *limit_kernels_avx512();
    if (vnni) extended.int8 = *limit_int8_avx512_vnni();
    if (bf16) extended.bf16 = *limit_bf16_avx512_bf16();
    if (vnni || bf16) found[count++] = &extended;
    found[count++] = limit_kernels_avx512();
  }
#endif
  if (processor_has_avx2()) found[count++] = limit_kernels_avx2();
  found[count] = limit_kernels_generic();
}

}  // namespace

const LimitKernels* const* available_limit_kernels() {
  static const AvailableLimits available;
  return available.found.data();
}

}  // namespace tetrad
