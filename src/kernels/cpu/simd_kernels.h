#pragma once

// The table of inner loops, one instance for each instruction set (simd_avx512.cpp, simd_avx2.cpp,
// simd_generic.cpp).
//
// The files that fill it in are compiled for machines that may not be this one. An inline function
// of the standard library compiled there could be the copy that the linker keeps for the whole
// program, so those files and the headers they include use plain pointers and no library at all.

#include <cstdint>

#include "kernels/int8_block.h"

namespace tetrad {

/// Floats of a vector, on every instruction set: element k of a sum goes to lane k % 16. With the
/// fixed tree that adds the lanes at the end this gives each sum one order, whatever the machine.
inline constexpr int64_t kLanes = 16;

/// A weight matrix in the form the inner loops want; see WeightMatrix.
struct MatrixRows {
  const unsigned char* data = nullptr;
  const unsigned char* scales = nullptr;
  const signed char* codebook = nullptr;  // [16], mxfp4_16 only
  int64_t cols = 0;
  int64_t row_bytes = 0;
  int64_t scale_row_bytes = 0;
  int64_t rows_per_scale_row = 1;
  /// What the thread reads after the rows that it is asked for now, or null: loops that ask for
  /// memory ahead of its use go on there.
  const unsigned char* next_data = nullptr;
  const unsigned char* next_scales = nullptr;
};

/// How the elements of a KV cache are stored.
enum class KvElement : unsigned char { f32, bf16, e4m3 };

/// Attention of some query heads of consecutive tokens, all of which read one KV head.
struct AttentionTile {
  /// Query head `head` of row `row` stands at q + row * row_stride + head * head_dim, and its
  /// result in the same place of `out`.
  const float* q = nullptr;
  float* out = nullptr;
  int64_t row_stride = 0;
  int64_t num_rows = 0;   // at least 1
  int64_t num_heads = 0;  // num_rows * num_heads <= kMaxTileQueries
  int64_t head_dim = 0;
  float score_scale = 0;  // of q · k as stored
  float value_scale = 0;  // of the values as stored
  /// Row 0 sees the sequence's first `num_keys` tokens, row i sees num_keys + i.
  int64_t num_keys = 0;
  const int32_t* block_table = nullptr;
  /// Block b of the KV head: [16, head_dim] of kv_element at k + b * block_bytes.
  const unsigned char* k = nullptr;
  const unsigned char* v = nullptr;
  int64_t block_bytes = 0;
  KvElement kv_element = KvElement::f32;
  /// For E4m3Attention. Unless null, only the keys of split `split` are looked at, and what was
  /// found stands here afterwards: num_rows * num_heads * (head_dim + 2) floats, undefined for rows
  /// that see no key of the split.
  float* partial = nullptr;
  int64_t split = 0;
};

inline constexpr int64_t kMaxTileQueries = 48;

/// What tiles of an E4M3 cache may have where they are E4m3Attention's; others are
/// SimdKernels::attend's.
inline constexpr int64_t kE4m3HeadDimGrain = 64;
inline constexpr int64_t kMaxE4m3Queries = 96;
inline constexpr int64_t kMaxE4m3HeadDim = 256;

/// Keys of a split, counted from the start of the sequence. A query that sees several splits has
/// them summed one by one and then joined in ascending order, whoever does it.
inline constexpr int64_t kSplitKeys = 2048;

struct E4m3Attention {
  /// A whole tile, or one split of it.
  void (*attend)(const AttentionTile& tile);
  /// Writes tile.out from its `num_splits` splits, which stand one after the other in `partials`
  /// and are used up by this.
  void (*join)(const AttentionTile& tile, float* partials, int64_t num_splits);
};

struct SimdKernels {
  const char* isa;

  /// out[t * out_stride + n] = W[n] · x[t] for row_begin <= n < row_end and t < num_tokens.
  using MatMul = void (*)(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                          const float* const* x, int64_t num_tokens, float* out,
                          int64_t out_stride);
  MatMul matmul_f32;
  MatMul matmul_f16;
  MatMul matmul_bf16;
  MatMul matmul_mxfp4_16;
  MatMul matmul_fp8_block;

  /// Columns begin … end - 1 of a row of `cols`, all multiples of 16, whose blocks start at
  /// `blocks`; x points to column `begin`.
  void (*quantize_int8)(const float* x, int64_t begin, int64_t end, int64_t cols,
                        Int8Block* blocks);
  /// MatMul of mxfp4_16 with the rows x[t] as blocks of 8 bits.
  void (*matmul_mxfp4_int8)(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                            const Int8Block* const* x, int64_t num_tokens, float* out,
                            int64_t out_stride);

  /// out = weight * x / sqrt(mean(x^2) + eps), all [n]; out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out);
  /// x += y
  void (*add)(float* x, const float* y, int64_t n);
  /// gate = silu(gate) * up
  void (*silu_multiply)(float* gate, const float* up, int64_t n);
  /// out = sum over i of weights[i] * rows[i], in ascending i.
  void (*weighted_sum)(const float* const* rows, const float* weights, int64_t num_rows, int64_t n,
                       float* out);
  void (*attend)(const AttentionTile& tile);
  E4m3Attention e4m3_attention;
};

/// Null where the compiler's target is another architecture.
const SimdKernels* simd_avx512();
const SimdKernels* simd_avx2();
const SimdKernels* simd_generic();
/// For machines that have AVX512-BF16 besides what simd_avx512() needs.
const E4m3Attention* e4m3_attention_avx512_bf16();

}  // namespace tetrad
