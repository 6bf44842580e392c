#pragma once

// The inner loops of the scale search, one instance for each instruction set
// (search_kernels_*.cpp). Those files are compiled for machines that may not be this one, so they
// and the headers they include use plain pointers and no library at all; see
// kernels/cpu/simd_kernels.h.
//
// Groups stand side by side, one a lane, and every sum goes over the weights of its own group in
// their order. No multiply is fused with an add. So how many lanes a register has does not show:
// all instances give the same bits.

#include <cstdint>

namespace tetrad {

inline constexpr int64_t kSearchGroupWeights = 16;
/// Groups that are searched side by side.
inline constexpr int64_t kSearchGroups = 16;

/// Weight i of group g stands at [i][g].
struct SearchBatch {
  alignas(64) float weights[kSearchGroupWeights][kSearchGroups];     // finite
  alignas(64) float importance[kSearchGroupWeights][kSearchGroups];  // finite, >= 0
  bool positive_only = false;
};

struct SearchedBatch {
  alignas(64) float scales[kSearchGroups];  // each is a binary16 number
  /// Byte b of word w holds weight 8w + 2b in its low nibble and 8w + 2b + 1 in its high one.
  alignas(64) uint32_t codes[2][kSearchGroups];
};

struct SearchKernels {
  const char* isa;
  using Search = void (*)(const SearchBatch& batch, SearchedBatch& out);
  Search amax;
  Search fast;
  Search exact;
};

/// Null where the compiler's target is another architecture.
const SearchKernels* search_kernels_avx512();
const SearchKernels* search_kernels_avx2();
const SearchKernels* search_kernels_generic();

/// Those that this machine can run, the widest first; a null pointer ends them.
const SearchKernels* const* available_search_kernels();

}  // namespace tetrad
