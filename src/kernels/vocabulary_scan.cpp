#include "kernels/vocabulary_scan.h"

#include <array>
#include <cstddef>

namespace tetrad {

const VocabularyScan* const* available_vocabulary_scans() {
  static const std::array<const VocabularyScan*, 4> kAvailable = [] {
    std::array<const VocabularyScan*, 4> found{};
    std::size_t count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma")) {
      found[count++] = vocabulary_scan_avx512();
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      found[count++] = vocabulary_scan_avx2();
#endif
    found[count] = vocabulary_scan_generic();
    return found;
  }();
  return kAvailable.data();
}

const VocabularyScan& vocabulary_scan() {
  return *available_vocabulary_scans()[0];
}

}  // namespace tetrad
