#pragma once

// What one step computes on: the tokens of several sequences, one after the other, and where their
// keys and values live in the paged cache.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "base/integer_math.h"

namespace tetrad {

/// Tokens a KV block holds.
inline constexpr int64_t kKvBlockSize = 16;

/// Blocks that hold so many tokens.
constexpr int64_t kv_blocks_for(int64_t num_tokens) {
  return ceil_div(num_tokens, kKvBlockSize);
}

/// Consecutive rows of a batch that belong to one sequence: a prefill chunk, or one decode token.
struct SequenceSlice {
  int64_t query_start = 0;  // first row in the batch
  int64_t query_len = 0;    // rows
  int64_t context_len = 0;  // tokens of the sequence already in the cache before this slice
  /// Physical block of each logical block; covers context_len + query_len tokens.
  std::span<const int32_t> block_table;
};

/// T tokens. Keys and values of row t are written to cache slot slot_mapping[t]
/// (= block * kKvBlockSize + offset) before attention reads them.
struct Batch {
  std::span<const int32_t> token_ids;     // [T]
  std::span<const int32_t> positions;     // [T]
  std::span<const int64_t> slot_mapping;  // [T]
  std::span<const SequenceSlice> sequences;
  /// Rows whose logits are wanted, ascending.
  std::span<const int32_t> logits_rows;

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

/// One layer's share of the paged KV cache.
/// k and v: [num_blocks, num_kv_heads, kKvBlockSize, head_dim] of `dtype` (F32, BF16 or F8_E4M3).
struct KvCacheLayer {
  DType dtype = DType::f32;
  /// What F8_E4M3 stores is x / scale, rounded to nearest even and saturated at ±448, and what is
  /// read is stored * scale (mxfp4_16 spec, section 5). Positive; 1 with the other types.
  float k_scale = 1;
  float v_scale = 1;
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  int64_t num_blocks = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
};

}  // namespace tetrad
