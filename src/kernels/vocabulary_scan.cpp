#include "kernels/vocabulary_scan.h"

#include <array>
#include <cstddef>

#include "base/cpu_features.h"

namespace tetrad {

const VocabularyScan* const* available_vocabulary_scans() {
  static const std::array<const VocabularyScan*, 4> kAvailable = [] {
    std::array<const VocabularyScan*, 4> found{};
    std::size_t count = 0;
    if (processor_has_avx512() && processor_has_avx2()) found[count++] = vocabulary_scan_avx512();
    if (processor_has_avx2()) found[count++] = vocabulary_scan_avx2();
    found[count] = vocabulary_scan_generic();
    return found;
  }();
  return kAvailable.data();
}

const VocabularyScan& vocabulary_scan() {
  return *available_vocabulary_scans()[0];
}

}  // namespace tetrad
