#pragma once

// Attention of one tile of queries, over a vector type V (vector_*.h).
//
// A query goes through its keys one block of 16 after the other, with a running maximum, and
// rescales what it has when the maximum grows. The blocks are those of the cache and every query
// has its own maximum, so the order of a query's sums depends on its keys alone.

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/matmul.h"

namespace tetrad {

inline constexpr int64_t kKeysPerBlock = 16;
static_assert(kKeysPerBlock == kLanes, "the scores of a block are one vector");

/// What a tile of queries has seen so far; the weighted sums of values stand in the tile's `out`.
struct RunningSoftmax {
  float largest[kMaxTileQueries];
  float denominator[kMaxTileQueries][kLanes];  // lane i sums the keys 16 b + i
  float scores[kMaxTileQueries][kKeysPerBlock];
};

template <class V>
void scale_row(float* row, int64_t n, float factor) {
  transform<V>(row, n, [=](typename V::Reg value) { return V::mul(value, V::set(factor)); }, row);
}

/// Turns the scores of one block into e^(score - largest), 0 from num_keys on.
template <class V>
void update_softmax(const AttentionTile& tile, int64_t query, int64_t num_keys, float* out,
                    RunningSoftmax& softmax) {
  float* scores = softmax.scores[query];
  for (int64_t key = num_keys; key < kKeysPerBlock; ++key)
    scores[key] = -__builtin_inff();
  const typename V::Reg scaled = V::mul(V::load(scores), V::set(tile.score_scale));
  const float block_largest = V::max_of_lanes(scaled);
  typename V::Reg denominator = V::load(softmax.denominator[query]);
  if (block_largest > softmax.largest[query]) {
    float factor[kLanes];
    V::store(factor, exp<V>(V::set(softmax.largest[query] - block_largest)));
    denominator = V::mul(denominator, V::set(factor[0]));
    scale_row<V>(out, tile.head_dim, factor[0]);
    softmax.largest[query] = block_largest;
  }
  const typename V::Reg shares = exp<V>(V::sub(scaled, V::set(softmax.largest[query])));
  V::store(softmax.denominator[query], V::add(denominator, shares));
  V::store(scores, shares);
}

/// out[h][d …] += sum over keys of scores[h][key] * values[key][d …], for H heads and N vectors.
template <class V, class Element, int H, int N>
void add_values(const AttentionTile& tile, const unsigned char* values, int64_t num_keys,
                const float (*scores)[kKeysPerBlock], float* out) {
  const int64_t value_bytes = tile.head_dim * Element::kBytes;
  typename V::Reg sums[H][N];
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      sums[h][n] = V::load(out + h * tile.head_dim + n * kLanes);
  }
  for (int64_t key = 0; key < num_keys; ++key) {
    typename V::Reg value[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      value[n] = Element::widen(values + key * value_bytes + n * kLanes * Element::kBytes);
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
      const typename V::Reg share = V::set(scores[h][key]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n)
        sums[h][n] = V::fma(share, value[n], sums[h][n]);
    }
  }
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      V::store(out + h * tile.head_dim + n * kLanes, sums[h][n]);
  }
}

/// The last dims of a head whose size is no multiple of 16.
template <class V, class Element>
void add_values_partial(const AttentionTile& tile, const unsigned char* values, int64_t num_keys,
                        const float* scores, float* out, int64_t count) {
  typename V::Reg sum = load_partial<V>(out, count);
  for (int64_t key = 0; key < num_keys; ++key) {
    const typename V::Reg value =
        widen_partial<V, Element>(values + key * tile.head_dim * Element::kBytes, count);
    sum = V::fma(V::set(scores[key]), value, sum);
  }
  store_partial<V>(out, sum, count);
}

/// All dims of H heads of one row.
template <class V, class Element, int H>
void add_values_of_heads(const AttentionTile& tile, const unsigned char* values, int64_t num_keys,
                         const float (*scores)[kKeysPerBlock], float* out) {
  constexpr int64_t kStep = V::kHeadVectors * kLanes;
  int64_t d = 0;
  for (; d + kStep <= tile.head_dim; d += kStep) {
    add_values<V, Element, H, V::kHeadVectors>(tile, values + d * Element::kBytes, num_keys, scores,
                                               out + d);
  }
  for (; d + kLanes <= tile.head_dim; d += kLanes) {
    add_values<V, Element, H, 1>(tile, values + d * Element::kBytes, num_keys, scores, out + d);
  }
  if (d == tile.head_dim) return;
  for (int h = 0; h < H; ++h) {
    add_values_partial<V, Element>(tile, values + d * Element::kBytes, num_keys, scores[h],
                                   out + h * tile.head_dim + d, tile.head_dim - d);
  }
}

template <class V, class Element, int H>
void add_values_up_to(int64_t num_heads, const AttentionTile& tile, const unsigned char* values,
                      int64_t num_keys, const float (*scores)[kKeysPerBlock], float* out) {
  if (num_heads >= H) {
    add_values_of_heads<V, Element, H>(tile, values, num_keys, scores, out);
  } else if constexpr (H > 1) {
    add_values_up_to<V, Element, H - 1>(num_heads, tile, values, num_keys, scores, out);
  }
}

/// Asks for a block of `half`, the keys or the values, that is used next: blocks lie anywhere in
/// the cache, so the hardware cannot foresee it. Inline, since GCC 12 drops calls of a function
/// that does nothing but prefetch.
template <class Element>
[[gnu::always_inline]] inline void prefetch_block(const AttentionTile& tile,
                                                  const unsigned char* half, int64_t block) {
  if (block * kKeysPerBlock >= tile.num_keys) return;
  const unsigned char* data = half + tile.block_table[block] * tile.block_bytes;
  for (int64_t i = 0; i < kKeysPerBlock * tile.head_dim * Element::kBytes; i += 64)
    __builtin_prefetch(data + i);
}

/// One block of keys for the rows that see some of them.
template <class V, class Element>
void attend_block(const AttentionTile& tile, int64_t block, const float* const* queries,
                  RunningSoftmax& softmax) {
  const int64_t first_key = block * kKeysPerBlock;
  const int64_t last_unseeing = first_key - tile.num_keys;  // rows up to this one see none
  const int64_t first_row = last_unseeing < 0 ? 0 : last_unseeing + 1;
  const int64_t first_query = first_row * tile.num_heads;
  const int64_t num_queries = tile.num_rows * tile.num_heads - first_query;
  const int64_t offset = tile.block_table[block] * tile.block_bytes;

  prefetch_block<Element>(tile, tile.k, block + 1);
  const MatrixRows keys{
      .data = tile.k + offset, .cols = tile.head_dim, .row_bytes = tile.head_dim * Element::kBytes};
  matmul<V, DenseRow<V, Element, false>>(keys, 0, kKeysPerBlock, queries + first_query, num_queries,
                                         softmax.scores[first_query], kKeysPerBlock);

  prefetch_block<Element>(tile, tile.v, block + 1);
  for (int64_t row = first_row; row < tile.num_rows; ++row) {
    const int64_t seen = tile.num_keys + row - first_key;
    const int64_t num_keys = seen < kKeysPerBlock ? seen : kKeysPerBlock;
    for (int64_t head = 0; head < tile.num_heads; ++head) {
      update_softmax<V>(tile, row * tile.num_heads + head, num_keys,
                        tile.out + row * tile.row_stride + head * tile.head_dim, softmax);
    }
    for (int64_t head = 0; head < tile.num_heads; head += V::kTileTokens) {
      add_values_up_to<V, Element, V::kTileTokens>(
          tile.num_heads - head, tile, tile.v + offset, num_keys,
          softmax.scores + row * tile.num_heads + head,
          tile.out + row * tile.row_stride + head * tile.head_dim);
    }
  }
}

template <class V, class Element>
void attend_blocks(const AttentionTile& tile) {
  RunningSoftmax softmax;
  const float* queries[kMaxTileQueries];
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    for (int64_t head = 0; head < tile.num_heads; ++head) {
      const int64_t query = row * tile.num_heads + head;
      const int64_t place = row * tile.row_stride + head * tile.head_dim;
      queries[query] = tile.q + place;
      softmax.largest[query] = -__builtin_inff();
      V::store(softmax.denominator[query], V::zero());
      __builtin_memset(tile.out + place, 0, static_cast<uint64_t>(tile.head_dim) * 4);
    }
  }
  const int64_t most_keys = tile.num_keys + tile.num_rows - 1;
  for (int64_t block = 0; block * kKeysPerBlock < most_keys; ++block)
    attend_block<V, Element>(tile, block, queries, softmax);

  for (int64_t row = 0; row < tile.num_rows; ++row) {
    for (int64_t head = 0; head < tile.num_heads; ++head) {
      const float sum = V::sum_of_lanes(V::load(softmax.denominator[row * tile.num_heads + head]));
      scale_row<V>(tile.out + row * tile.row_stride + head * tile.head_dim, tile.head_dim,
                   tile.value_scale / sum);
    }
  }
}

/// SimdKernels::attend
template <class V>
void attend(const AttentionTile& tile) {
  switch (tile.kv_element) {
    case KvElement::f32:
      return attend_blocks<V, F32Element<V>>(tile);
    case KvElement::bf16:
      return attend_blocks<V, Bf16Element<V>>(tile);
    case KvElement::e4m3:
      return attend_blocks<V, E4m3Element<V>>(tile);
  }
}

}  // namespace tetrad
