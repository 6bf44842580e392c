#pragma once

// The inner loops of the scale search and of error correction, one instance for each instruction
// set (quant_kernels_*.cpp). Those files are compiled for machines that may not be this one, so
// they and the headers they include use plain pointers and no library at all; see
// kernels/cpu/simd_kernels.h.
//
// Groups, or rows, stand side by side, one a lane, and every sum goes over what is its own in one
// order. No multiply is fused with an add. So how many lanes a register has does not show:
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

/// Rows of a matrix that are corrected side by side, and columns of a tile of a product.
inline constexpr int64_t kCorrectionLanes = 16;
/// Rows of a tile of a product.
inline constexpr int64_t kTileHeight = 8;

/// One group of kCorrectionLanes rows; index [i][lane] is i * kCorrectionLanes + lane.
struct GroupToRound {
  const float* weights = nullptr;  // [16][lanes], as the source has them
  /// [16][lanes]: the weights plus what the errors of all later groups ask for.
  const float* targets = nullptr;
  /// [16][16]: how much of column k's error column i < k takes on, at k * 16 + i.
  const float* factors = nullptr;
  const float* pivots = nullptr;  // [16]: what a squared difference from the target costs
  const float* scales = nullptr;  // [lanes]
};

struct RoundedGroup {
  alignas(64) float errors[16 * kCorrectionLanes];   // weights - what is stored
  alignas(64) int32_t codes[16 * kCorrectionLanes];  // 0 … 15
  alignas(64) float cost[kCorrectionLanes];          // Σ pivots · (target - what is stored)²
};

struct QuantKernels {
  const char* isa;

  using Search = void (*)(const SearchBatch& batch, SearchedBatch& out);
  Search search_amax;
  Search search_fast;
  Search search_exact;

  /// sums[i * 16 + lane] += Σ_k a[k * a_stride + i] * b[k * 16 + lane] for i < kTileHeight,
  /// k < n ascending.
  void (*accumulate)(const float* a, int64_t a_stride, const float* b, int64_t n, float* sums);
  /// Rounds column 15 first and lets each column see the errors of those behind it.
  void (*round_group)(const GroupToRound& group, RoundedGroup& out);
};

/// Null where the compiler's target is another architecture.
const QuantKernels* quant_kernels_avx512();
const QuantKernels* quant_kernels_avx2();
const QuantKernels* quant_kernels_generic();

/// Those that this machine can run, the widest first; a null pointer ends them.
const QuantKernels* const* available_quant_kernels();
/// The widest.
inline const QuantKernels& quant_kernels() {
  return **available_quant_kernels();
}

}  // namespace tetrad
