#pragma once

// What attention finds in the splits of a long context, and how it is joined: one after the other
// in ascending order, so that a result does not tell who summed which split.

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

/// What some queries have found in some keys: sum of e^(score - largest) * value, and of
/// e^(score - largest).
struct PartialResults {
  float* sums = nullptr;         // [num_queries, head_dim]
  float* largest = nullptr;      // [num_queries]
  float* denominator = nullptr;  // [num_queries]
};

/// Split `split` of those that stand at `memory`. V is named so that each instruction set has a
/// function of its own.
template <class V>
PartialResults partial_results(const AttentionTile& tile, float* memory, int64_t split) {
  const int64_t num_queries = tile.num_rows * tile.num_heads;
  memory += split * num_queries * (tile.head_dim + 2);
  return {.sums = memory,
          .largest = memory + num_queries * tile.head_dim,
          .denominator = memory + num_queries * (tile.head_dim + 1)};
}

/// Adds to `total` what one query has found in the keys of one more split.
template <class D>
void join_split(const PartialResults& split, int64_t query, int64_t head_dim,
                const PartialResults& total) {
  using V = typename D::Vector;
  const float before = total.largest[query];
  const float now = split.largest[query];
  const float largest = now > before ? now : before;
  float factors[kLanes] = {before - largest, now - largest};
  V::store(factors, D::power(V::load(factors)));
  total.largest[query] = largest;
  total.denominator[query] =
      total.denominator[query] * factors[0] + split.denominator[query] * factors[1];
  const float* from = split.sums + query * head_dim;
  float* to = total.sums + query * head_dim;
  for (int64_t d = 0; d < head_dim; d += kLanes) {
    const typename V::Reg scaled = V::mul(V::load(from + d), V::set(factors[1]));
    V::store(to + d, V::fma(V::load(to + d), V::set(factors[0]), scaled));
  }
}

template <class D>
void write_result(const AttentionTile& tile, const PartialResults& total) {
  for (int64_t query = 0; query < tile.num_rows * tile.num_heads; ++query) {
    float* out = tile.out + query / tile.num_heads * tile.row_stride +
                 query % tile.num_heads * tile.head_dim;
    D::write_values(total.sums + query * tile.head_dim, tile.value_scale / total.denominator[query],
                    tile.head_dim, out);
  }
}

/// The first query of the tile that sees key `key`, or the number of queries.
template <class V>
int64_t first_seeing_query(const AttentionTile& tile, int64_t key) {
  const int64_t unseeing_rows = key + 1 - tile.num_keys;
  if (unseeing_rows <= 0) return 0;
  return (unseeing_rows < tile.num_rows ? unseeing_rows : tile.num_rows) * tile.num_heads;
}

/// E4m3Attention::join
template <class D>
void join_e4m3(const AttentionTile& tile, float* partials, int64_t num_splits) {
  using V = typename D::Vector;
  const int64_t num_queries = tile.num_rows * tile.num_heads;
  const PartialResults total = partial_results<V>(tile, partials, 0);
  for (int64_t split = 1; split < num_splits; ++split) {
    const PartialResults one = partial_results<V>(tile, partials, split);
    for (int64_t query = first_seeing_query<V>(tile, split * kSplitKeys); query < num_queries;
         ++query)
      join_split<D>(one, query, tile.head_dim, total);
  }
  write_result<D>(tile, total);
}

}  // namespace tetrad
