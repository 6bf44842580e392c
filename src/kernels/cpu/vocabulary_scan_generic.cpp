#include "kernels/cpu/vocabulary_loops.h"

namespace tetrad {

const VocabularyScan* vocabulary_scan_generic() {
  static constexpr VocabularyScan kScan = make_vocabulary_scan("generic");
  return &kScan;
}

}  // namespace tetrad
