#pragma once

// Attention over an E4M3 cache, for head sizes that are a multiple of 64.
//
// Expanding the cache's bytes costs as much as multiplying them once, so a block is expanded once,
// into the L1 cache, for all query heads that read its KV head and for several rows of a prompt:
// keys so that a vector has 16 keys, values so that it has 16 dims. Then scores and sums are plain
// matrix products without sums over lanes, in the arithmetic of D: FloatDot, or Bf16Dot, where a
// lane of an operand holds two neighbours of the sum.
//
// A query goes through its keys in chunks of 64 from the sequence's start, with a running maximum,
// and starts anew every kSplitKeys (split_results.h). So the bits of its result depend on neither
// the other rows of a tile nor who computes which split.

#include "kernels/cpu/block_prefetch.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/cpu/split_results.h"

namespace tetrad {

inline constexpr int64_t kChunkKeys = 64;
inline constexpr int64_t kPageKeys = 16;  // of a cache block
static_assert(kSplitKeys % kChunkKeys == 0 && kChunkKeys % kPageKeys == 0);
static_assert(kPageKeys == kLanes, "the scores of a block are one vector");

/// One tile on its way through its keys.
template <class D>
class E4m3Tile {
 public:
  explicit E4m3Tile(const AttentionTile& tile) : tile_(tile) {
    const int64_t words = tile.head_dim / D::kElements;
    for (int64_t query = 0; query < num_queries(); ++query) {
      const float* q = tile.q + query / tile.num_heads * tile.row_stride +
                       query % tile.num_heads * tile.head_dim;
      D::pack(q, tile.head_dim, queries_ + query * words);
    }
  }

  void run() {
    if (tile_.partial != nullptr) {
      attend_split(tile_.split, partial_results<V>(tile_, tile_.partial, 0));
      return;
    }
    const PartialResults total{total_sums_, total_largest_, total_denominator_};
    attend_split(0, total);
    for (int64_t split = 1; split * kSplitKeys < most_keys(); ++split) {
      const PartialResults one{sums_, largest_, denominator_};
      attend_split(split, one);
      for (int64_t query = first_seeing_query<V>(tile_, split * kSplitKeys); query < num_queries();
           ++query) {
        join_split<D>(one, query, tile_.head_dim, total);
      }
    }
    write_result<D>(tile_, total);
  }

 private:
  using V = typename D::Vector;
  using Reg = typename V::Reg;
  static constexpr int64_t kMaxQueries = kMaxE4m3Queries;
  static constexpr int64_t kChunkSteps = kChunkKeys / D::kElements;

  int64_t num_queries() const { return tile_.num_rows * tile_.num_heads; }
  int64_t most_keys() const { return tile_.num_keys + tile_.num_rows - 1; }
  /// Keys of the chunk at first_key that the row of a query sees.
  int64_t seen(int64_t query, int64_t first_key) const {
    const int64_t keys = tile_.num_keys + query / tile_.num_heads - first_key;
    return keys < kChunkKeys ? keys : kChunkKeys;
  }

  /// Leaves what queries without a key of the split have found undefined.
  void attend_split(int64_t split, const PartialResults& result) {
    const int64_t begin = split * kSplitKeys;
    const int64_t end = begin + kSplitKeys < most_keys() ? begin + kSplitKeys : most_keys();
    const int64_t first_query = first_seeing_query<V>(tile_, begin);
    for (int64_t query = first_query; query < num_queries(); ++query) {
      result.largest[query] = -__builtin_inff();
      V::store(denominators_[query], V::zero());
      for (int64_t d = 0; d < tile_.head_dim; d += kLanes)
        V::store(result.sums + query * tile_.head_dim + d, V::zero());
    }
    for (int64_t first_key = begin; first_key < end; first_key += kChunkKeys)
      attend_chunk(first_key, result);
    for (int64_t query = first_query; query < num_queries(); ++query)
      result.denominator[query] = V::sum_of_lanes(V::load(denominators_[query]));
  }

  void attend_chunk(int64_t first_key, const PartialResults& result) {
    const int64_t keys_left = most_keys() - first_key;
    const int64_t num_keys = keys_left < kChunkKeys ? keys_left : kChunkKeys;
    const int64_t first_query = first_seeing_query<V>(tile_, first_key);
    if constexpr (D::kMaxDirectQueries > 0) {
      if (tile_.num_keys - first_key >= kChunkKeys && num_queries() >= D::kMinDirectQueries &&
          num_queries() <= D::kMaxDirectQueries) {
        return attend_directly<D::kMaxDirectQueries>(first_key, result);
      }
    }
    expand_chunk_keys(first_key, num_keys);
    for (int64_t query = first_query; query < num_queries(); query += V::kProductQueries) {
      const int64_t left = num_queries() - query;
      const int64_t count = left < V::kProductQueries ? left : V::kProductQueries;
      weigh_keys(first_key, num_keys, query, count, result);
    }
    add_values_of_chunk(first_key, first_query, result);
  }

  const unsigned char* page(const unsigned char* half, int64_t first_key) const {
    return half + tile_.block_table[first_key / kPageKeys] * tile_.block_bytes;
  }
  /// The blocks of the chunk at first_key. After the last chunk there is nothing to ask for, and
  /// the loops that would ask then ask for what they have.
  BlockPrefetch blocks_at(const unsigned char* half, int64_t first_key) const {
    BlockPrefetch prefetch;
    prefetch.block_bytes = kPageKeys * tile_.head_dim;
    if (first_key >= most_keys()) first_key -= kChunkKeys;
    for (int64_t i = 0; i < kChunkKeys / kPageKeys; ++i) {
      const int64_t key = first_key + i * kPageKeys;
      prefetch.blocks[i] = page(half, key < most_keys() ? key : first_key);
    }
    return prefetch;
  }

  /// A chunk that all rows see, where there are so few queries that D multiplies what it expands.
  template <int Q>
  void attend_directly(int64_t first_key, const PartialResults& result) {
    if constexpr (Q > D::kMinDirectQueries) {
      if (num_queries() < Q) return attend_directly<Q - 1>(first_key, result);
    }
    alignas(64) float scores[Q][kChunkKeys];
    D::template weigh_directly<Q>(blocks_at(tile_.k, first_key).blocks, tile_.head_dim, queries_,
                                  scores[0], blocks_at(tile_.k, first_key + kChunkKeys));
    for (int64_t query = 0; query < Q; ++query)
      update_shares(scores[query], query, kChunkKeys, result);
    D::template add_values_directly<Q>(blocks_at(tile_.v, first_key).blocks, tile_.head_dim,
                                       shares_[0], result.sums,
                                       blocks_at(tile_.v, first_key + kChunkKeys));
  }

  /// Of a block that is not full the rest is expanded too, whatever it is; nobody looks at it.
  void expand_chunk_keys(int64_t first_key, int64_t num_keys) {
    float* out = operands_;
    for (int64_t key = 0; key < num_keys; key += kPageKeys) {
      const unsigned char* keys = page(tile_.k, first_key + key);
      D::expand_keys(keys, tile_.head_dim, out);
      out += tile_.head_dim / D::kElements * kLanes;
    }
  }

  /// The shares of the chunk's keys for some queries.
  void weigh_keys(int64_t first_key, int64_t num_keys, int64_t query, int64_t count,
                  const PartialResults& result) {
    const int64_t steps = tile_.head_dim / D::kElements;
    alignas(64) float scores[V::kProductQueries][kChunkKeys];
    const int64_t next = first_key + kChunkKeys;
    BlockPrefetch prefetch = blocks_at(tile_.k, next);
    multiply<D>({.a = queries_ + query * steps,
                 .a_stride = steps,
                 .b = operands_,
                 .step_stride = kLanes,
                 .vector_stride = steps * kLanes,
                 .num_steps = steps,
                 .sums = scores[0],
                 .sums_stride = kChunkKeys,
                 .from_zero = true,
                 .prefetch = query < V::kProductQueries ? &prefetch : nullptr},
                count, (num_keys + kPageKeys - 1) / kPageKeys);
    for (int64_t i = 0; i < count; ++i)
      update_shares(scores[i], query + i, seen(query + i, first_key), result);
  }

  /// Of the keys after the first num_keys only those of the same block are given a share, 0.
  void update_shares(float* scores, int64_t query, int64_t num_keys, const PartialResults& result) {
    const int64_t end = (num_keys + kPageKeys - 1) / kPageKeys * kPageKeys;
    for (int64_t key = num_keys; key < end; ++key)
      scores[key] = -__builtin_inff();
    const Reg scale = V::set(tile_.score_scale * D::kScoreUnit);
    Reg largest = V::mul(V::load(scores), scale);
    for (int64_t key = kLanes; key < end; key += kLanes)
      largest = V::max(largest, V::mul(V::load(scores + key), scale));
    const float chunk_largest = V::max_of_lanes(largest);
    Reg denominator = V::load(denominators_[query]);
    if (chunk_largest > result.largest[query]) {
      float factor[kLanes];
      V::store(factor, D::power(V::set(result.largest[query] - chunk_largest)));
      denominator = V::mul(denominator, V::set(factor[0]));
      float* sums = result.sums + query * tile_.head_dim;
      for (int64_t d = 0; d < tile_.head_dim; d += kLanes)
        V::store(sums + d, V::mul(V::load(sums + d), V::set(factor[0])));
      result.largest[query] = chunk_largest;
    }
    const Reg subtrahend = V::set(-result.largest[query]);
    for (int64_t key = 0; key < end; key += kLanes) {
      const Reg shares = D::power(V::fma(V::load(scores + key), scale, subtrahend));
      denominator =
          V::add(denominator, D::pack_shares(shares, shares_[query] + key / D::kElements));
    }
    V::store(denominators_[query], denominator);
  }

  /// Rows that see all keys of the chunk go together, the others one after the other: what is in
  /// the cache behind a row's last key may be anything, and NaN times a share of 0 is NaN.
  void add_values_of_chunk(int64_t first_key, int64_t query, const PartialResults& result) {
    const int64_t next = first_key + kChunkKeys;
    BlockPrefetch prefetch = blocks_at(tile_.v, next);
    int64_t expanded = 0;
    while (query < num_queries()) {
      const int64_t num_keys = seen(query, first_key);
      expand_chunk_values(first_key, expanded, num_keys);
      expanded = num_keys / 4 * 4;
      const int64_t count = num_keys == kChunkKeys ? num_queries() - query : tile_.num_heads;
      multiply<D>({.a = shares_[query],
                   .a_stride = kChunkSteps,
                   .b = operands_,
                   .step_stride = tile_.head_dim,
                   .vector_stride = kLanes,
                   .num_steps = (num_keys + D::kElements - 1) / D::kElements,
                   .sums = result.sums + query * tile_.head_dim,
                   .sums_stride = tile_.head_dim,
                   .prefetch = num_keys == kChunkKeys ? &prefetch : nullptr},
                  count, tile_.head_dim / kLanes);
      query += count;
    }
  }

  /// Values begin … end - 1 of the chunk, and zeros up to a multiple of 4; `begin` is one.
  void expand_chunk_values(int64_t first_key, int64_t begin, int64_t end) {
    for (int64_t key = begin; key < end;) {
      const int64_t page_end = (key / kPageKeys + 1) * kPageKeys;
      const int64_t next = page_end < end ? page_end : end;
      const unsigned char* values =
          page(tile_.v, first_key + key) + key % kPageKeys * tile_.head_dim;
      D::expand_values(values, tile_.head_dim, next - key,
                       operands_ + key / D::kElements * tile_.head_dim);
      key = next;
    }
  }

  const AttentionTile& tile_;
  /// A chunk's keys, and then its values.
  alignas(64) float operands_[kChunkSteps * kMaxE4m3HeadDim];
  alignas(64) float queries_[kMaxQueries * kMaxE4m3HeadDim / D::kElements];
  alignas(64) float shares_[kMaxQueries][kChunkSteps];
  alignas(64) float denominators_[kMaxQueries][kLanes];
  alignas(64) float sums_[kMaxQueries * kMaxE4m3HeadDim];
  float largest_[kMaxQueries];
  float denominator_[kMaxQueries];
  alignas(64) float total_sums_[kMaxQueries * kMaxE4m3HeadDim];
  float total_largest_[kMaxQueries];
  float total_denominator_[kMaxQueries];
};

/// E4m3Attention::attend
template <class D>
void attend_e4m3(const AttentionTile& tile) {
  E4m3Tile<D> attention(tile);
  attention.run();
}

template <class D>
constexpr E4m3Attention make_e4m3_attention() {
  return {.attend = attend_e4m3<D>, .join = join_e4m3<D>};
}

}  // namespace tetrad
