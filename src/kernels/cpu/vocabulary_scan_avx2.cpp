#include "kernels/vocabulary_scan.h"

#if defined(__x86_64__)

#include "kernels/cpu/vocabulary_loops.h"

namespace tetrad {

const VocabularyScan* vocabulary_scan_avx2() {
  static constexpr VocabularyScan kScan = make_vocabulary_scan("avx2");
  return &kScan;
}

}  // namespace tetrad

#else

namespace tetrad {

const VocabularyScan* vocabulary_scan_avx2() {
  return nullptr;
}

}  // namespace tetrad

#endif
