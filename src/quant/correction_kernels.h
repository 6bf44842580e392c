#pragma once

// The inner loops of error correction, one instance for each instruction set
// (correction_kernels_*.cpp). Those files are compiled for machines that may not be this one, so
// they and the headers they include use plain pointers and no library at all; see
// kernels/cpu/simd_kernels.h. All instances give the same bits: no multiply is fused with an add.

#include <cstdint>

namespace tetrad {

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

struct CorrectionKernels {
  /// sums[i * 16 + lane] += Σ_k a[k * a_stride + i] * b[k * 16 + lane] for i < kTileHeight,
  /// k < n ascending.
  void (*accumulate)(const float* a, int64_t a_stride, const float* b, int64_t n, float* sums);
  /// Rounds column 15 first and lets each column see the errors of those behind it.
  void (*round_group)(const GroupToRound& group, RoundedGroup& out);
};

/// Null where the compiler's target is another architecture.
const CorrectionKernels* correction_kernels_avx512();
const CorrectionKernels* correction_kernels_avx2();
const CorrectionKernels* correction_kernels_generic();

/// The widest that this machine has.
const CorrectionKernels& correction_kernels();

}  // namespace tetrad
