#pragma once

// Causal attention over the paged FP8 cache. Keys and values are what is streamed, so they are A
// and the queries are B: S^T = K Q^T, and P^T, which is what S^T becomes, is the B of O^T = V^T
// P^T. The columns of a tile are pairs of a token and one of the query heads that share a KV head.
// Lanes load pieces of rows of the cache as they lie there; which dimension of a head stands where
// follows from that (dim_of_row, dims of first_k) and is the same for both operands.
//
// Keys are cut into splits of kSplitKeys at fixed positions. Within a split the softmax is online,
// by blocks of 16 keys, from nothing; splits are merged in order. Maxima are rounded up to integers
// (the scores are exponents of two), so merging multiplies by powers of two, exactly. Decode
// computes the splits of a token in different warps and the last block to finish merges them;
// prefill merges as it goes. Both do the same operations on the same numbers, so the bits are the
// same.

#include "gpu/fragment.h"
#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

inline constexpr uint32_t kKvBlock = 16;     // kKvBlockSize of kernels/batch.h
inline constexpr uint32_t kSplitKeys = 128;  // a multiple of kKvBlock
inline constexpr uint32_t kAttendWarps = 8;
inline constexpr uint32_t kMaxGroup = 8;  // query heads of a KV head

/// Sequences of a step; of each, query_len rows of the batch from query_start on.
struct AttentionArgs {
  const uint16_t* q = nullptr;       // [T, num_heads * head_dim] halves, scaled (qk_norm_rope.h)
  const uint8_t* k_cache = nullptr;  // E4M3 [blocks, num_kv_heads, 16, head_dim]
  const uint8_t* v_cache = nullptr;
  float v_scale = 1;
  uint32_t num_kv_heads = 0;
  uint32_t group = 0;                    // query heads of a KV head, at most kMaxGroup
  const int32_t* query_start = nullptr;  // [sequences]
  const int32_t* query_len = nullptr;
  const int32_t* context_len = nullptr;  // tokens in the cache before the step
  const int32_t* block_table = nullptr;  // [sequences, table_stride]
  uint32_t table_stride = 0;
  uint16_t* attended = nullptr;  // [T, attended_stride] halves in activation_offset order
  uint32_t attended_stride = 0;

  // Decode: one query a sequence. Grid: (splits / kAttendWarps, num_kv_heads, sequences), for as
  // many splits as the longest sequence may have; blocks beyond a sequence's end return.
  const int32_t* sequences = nullptr;  // [grid z]: which of the sequences
  float* partial = nullptr;            // [grid z, num_kv_heads, max_splits, partial_floats]
  uint32_t max_splits = 0;             // grid x * kAttendWarps
  uint32_t* finished = nullptr;        // [grid z, num_kv_heads], 0 before and after

  // Prefill: a warp takes kPrefillTiles tiles of columns of a sequence. Grid: (items /
  // kPrefillWarps, num_kv_heads).
  const int32_t* items = nullptr;  // [num_items, 2]: a sequence, and the first column
  uint32_t num_items = 0;
};

inline constexpr uint32_t kPrefillWarps = 4;
/// Converted keys and values are used for so many tiles of columns; registers allow no more.
template <class F>
inline constexpr uint32_t kPrefillTilesOf = 16 / F::kTokens;

/// Floats of what a warp leaves of one split: every lane's sums, then maxima and denominators.
template <class F>
constexpr uint32_t partial_floats(uint32_t head_dim) {
  return 32 * (head_dim / 16 * F::kD + 2 * F::kTokensOfLane);
}

namespace TETRAD_MACHINE {

/// Of a tile of columns: per lane, as D's registers go.
template <uint32_t kHeadDim>
struct SoftmaxState {
  static constexpr uint32_t kRowTiles = kHeadDim / 16;
  float largest[Fragment::kTokensOfLane];      // an integer
  float denominator[Fragment::kTokensOfLane];  // this lane's part until it is gathered
  float sums[kRowTiles][Fragment::kD];

  TETRAD_DEVICE void clear() {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      largest[i] = -1e9f;
      denominator[i] = 0;
    }
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[tile][i] = 0;
    }
  }

  TETRAD_DEVICE void scale(const float (&factor)[Fragment::kTokensOfLane]) {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[tile][i] *= factor[i % Fragment::kTokensOfLane];
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
      denominator[i] *= factor[i];
  }
};

/// 2^n for an integer n <= 0, exactly; 0 where that is no normal float.
TETRAD_DEVICE float exact_power(float n) {
  return n < -126.0f ? 0.0f
                     : __builtin_bit_cast(
                           float, static_cast<uint32_t>(127 + static_cast<int32_t>(n)) << 23);
}

/// What one split's merging into the total multiplies each with.
TETRAD_DEVICE void merge_factors(float& total_largest, float split_largest, float& of_total,
                                 float& of_split) {
  const float largest = larger(total_largest, split_largest);
  of_total = exact_power(total_largest - largest);
  of_split = exact_power(split_largest - largest);
  total_largest = largest;
}

template <uint32_t kHeadDim>
struct Attention {
  static constexpr uint32_t kSteps = kHeadDim / 16;     // of S^T
  static constexpr uint32_t kRowTiles = kHeadDim / 16;  // of O^T
  static constexpr uint32_t kColumnsOfLane = Fragment::kColumnsOfLane;
  static constexpr uint32_t kRowsOfLane = Fragment::kRowsOfLane;
  static constexpr uint32_t kLanesOfRow = 16 / kColumnsOfLane;
  static constexpr uint32_t kKeyWords = kHeadDim / kLanesOfRow / 4;  // of a lane and row
  static constexpr uint32_t kDimsOfLane = kRowsOfLane * kRowTiles;   // of V
  static constexpr uint32_t kValueWords = kDimsOfLane / 4;
  using State = SoftmaxState<kHeadDim>;

  /// One block of 16 keys and values, as a lane holds it.
  struct Block {
    uint32_t keys[kRowsOfLane][kKeyWords];
    uint32_t values[kColumnsOfLane][kValueWords];

    TETRAD_DEVICE void load(const uint8_t* k, const uint8_t* v) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i)
        load_words<kKeyWords>(
            keys[i], k + Fragment::a_row(lane(), i) * kHeadDim +
                         Fragment::first_k(lane()) / kColumnsOfLane * (kHeadDim / kLanesOfRow));
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kColumnsOfLane; ++j)
        load_words<kValueWords>(values[j], v + Fragment::row_of_k(lane(), j) * kHeadDim +
                                               Fragment::a_row(lane(), 0) * kDimsOfLane);
    }
    /// Values of keys from `count` on become zero: what was never written may be NaN.
    TETRAD_DEVICE void clear_values(uint32_t count) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kColumnsOfLane; ++j) {
        const bool is_there = Fragment::row_of_k(lane(), j) < count;
        TETRAD_UNROLL
        for (uint32_t w = 0; w < kValueWords; ++w)
          values[j][w] = is_there ? values[j][w] : 0;
      }
    }

   private:
    template <uint32_t kWords>
    TETRAD_DEVICE static void load_words(uint32_t (&to)[kWords], const uint8_t* from) {
      if constexpr (kWords % 4 == 0) {
        TETRAD_UNROLL
        for (uint32_t w = 0; w < kWords; w += 4) {
          const Words4 words = *reinterpret_cast<const Words4*>(from + 4 * w);
          TETRAD_UNROLL
          for (uint32_t i = 0; i < 4; ++i)
            to[w + i] = words.word[i];
        }
      } else if constexpr (kWords == 2) {
        const Words2 words = *reinterpret_cast<const Words2*>(from);
        to[0] = words.word[0];
        to[1] = words.word[1];
      } else {
        to[0] = *reinterpret_cast<const uint32_t*>(from);
      }
    }
  };

  /// Queries of a tile of columns, as B of every step.
  struct Queries {
    uint32_t b[kSteps][Fragment::kB];

    /// `head`: of the lane's column; null: there is none.
    TETRAD_DEVICE void load(const uint16_t* head) {
      const uint32_t first = Fragment::first_k(lane()) / kColumnsOfLane * (kHeadDim / kLanesOfRow);
      TETRAD_UNROLL
      for (uint32_t step = 0; step < kSteps; ++step) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kB; ++i)
          b[step][i] =
              head == nullptr
                  ? 0
                  : reinterpret_cast<const uint32_t*>(head + first)[step * Fragment::kB + i];
      }
    }
  };

  /// Scores of 16 keys: exponents of two.
  TETRAD_DEVICE static void scores(const Block& block, const Queries& queries,
                                   float (&s)[Fragment::kD]) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      s[i] = 0;
    TETRAD_UNROLL
    for (uint32_t step = 0; step < kSteps; ++step) {
      uint32_t a[Fragment::kA];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i) {
        TETRAD_UNROLL
        for (uint32_t j = 0; j < kColumnsOfLane / 2; ++j) {
          const uint32_t byte = step * kColumnsOfLane + 2 * j;
          a[Fragment::a_register(i, j)] =
              e4m3_to_halves(block.keys[i][byte / 4] >> 8 * (byte % 4) & 0xFFFFu);
        }
      }
      Fragment::multiply_add(s, a, queries.b[step]);
    }
  }

  /// Takes 16 keys into the state. `limit[i]`: keys of the block that token i of the lane sees.
  TETRAD_DEVICE static void take(State& state, const Block& block, const Queries& queries,
                                 const int32_t (&limit)[Fragment::kTokensOfLane], bool sees_all) {
    float s[Fragment::kD];
    scores(block, queries, s);
    float largest[Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
      largest[i] = -1e9f;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t token = i % Fragment::kTokensOfLane;
      if (!sees_all && static_cast<int32_t>(Fragment::d_row(lane(), i)) >= limit[token])
        s[i] = -1e9f;
      largest[token] = larger(largest[token], s[i]);
    }
    float factor[Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      TETRAD_UNROLL
      for (uint32_t step = 1; step < 32; step *= 2) {
        if ((Fragment::kRowLanes & step) != 0)
          largest[i] = larger(largest[i], shuffle_xor(largest[i], step));
      }
      const float now = larger(state.largest[i], round_up(largest[i]));
      factor[i] = exact_power(state.largest[i] - now);
      state.largest[i] = now;
    }
    state.scale(factor);
    float p[Fragment::kD];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t token = i % Fragment::kTokensOfLane;
      // What is masked is 0 also where nothing is visible and the difference is 0.
      p[i] = s[i] == -1e9f ? 0.0f : power_of_two(s[i] - state.largest[token]);
      p[i] = half_to_float(float_to_half(p[i]));
      state.denominator[token] += p[i];
    }
    uint32_t b[Fragment::kB];
    Fragment::as_b(b, p);
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile) {
      uint32_t a[Fragment::kA];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i) {
        const uint32_t byte = tile * kRowsOfLane + i;
        TETRAD_UNROLL
        for (uint32_t j = 0; j < kColumnsOfLane / 2; ++j)
          a[Fragment::a_register(i, j)] = e4m3_to_halves(zip_bytes(
              block.values[2 * j][byte / 4], block.values[2 * j + 1][byte / 4], byte % 4));
      }
      Fragment::multiply_add(state.sums[tile], a, b);
    }
  }

  /// The denominators of all lanes that share a token.
  TETRAD_DEVICE static void gather(State& state) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      TETRAD_UNROLL
      for (uint32_t step = 1; step < 32; step *= 2) {
        if ((Fragment::kRowLanes & step) != 0)
          state.denominator[i] += shuffle_xor(state.denominator[i], step);
      }
    }
  }

  /// total = total and split together.
  TETRAD_DEVICE static void merge(State& total, const State& split) {
    float of_total[Fragment::kTokensOfLane];
    float of_split[Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
      merge_factors(total.largest[i], split.largest[i], of_total[i], of_split[i]);
    total.scale(of_total);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
      total.denominator[i] =
          fused_multiply_add(split.denominator[i], of_split[i], total.denominator[i]);
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        total.sums[tile][i] = fused_multiply_add(
            split.sums[tile][i], of_split[i % Fragment::kTokensOfLane], total.sums[tile][i]);
    }
  }

  /// Which dimension of a head row `row` of O^T's tile `tile` is.
  TETRAD_DEVICE static uint32_t dim_of_row(uint32_t tile, uint32_t row) {
    constexpr uint32_t kOwners = 16 / kRowsOfLane;
    return row % kOwners * kDimsOfLane + tile * kRowsOfLane + row / kOwners;
  }

  /// One value of `attended`.
  TETRAD_DEVICE static void store(const AttentionArgs& args, uint64_t token, uint32_t head,
                                  uint32_t dim, float value) {
    args.attended[token * args.attended_stride +
                  activation_offset<Fragment>(head * kHeadDim + dim)] = float_to_half(value);
  }

  /// A KV head's part of a block of the cache.
  TETRAD_DEVICE static uint64_t cache_at(const AttentionArgs& args, uint32_t sequence,
                                         uint32_t kv_head, uint32_t block) {
    const int32_t physical =
        args.block_table[static_cast<uint64_t>(sequence) * args.table_stride + block];
    return (static_cast<uint64_t>(static_cast<uint32_t>(physical)) * args.num_kv_heads + kv_head) *
           (kKvBlock * kHeadDim);
  }
};

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_decode(const AttentionArgs& args) {
  using A = Attention<kHeadDim>;
  uint32_t* is_last = reinterpret_cast<uint32_t*>(shared_memory());
  wait_for_launches_before();
  let_next_launch_begin();
  const auto sequence = static_cast<uint32_t>(args.sequences[block_z()]);
  const uint32_t kv_head = block_y();
  const auto num_keys = static_cast<uint32_t>(args.context_len[sequence]) + 1;
  const uint32_t num_splits = tiles_for(num_keys, kSplitKeys);
  if (block_x() * kAttendWarps >= num_splits) return;
  const auto token = static_cast<uint64_t>(args.query_start[sequence]);
  const uint32_t num_heads = args.num_kv_heads * args.group;
  const uint64_t of_sequence =
      (static_cast<uint64_t>(block_z()) * args.num_kv_heads + kv_head) * args.max_splits;

  const uint32_t split = block_x() * kAttendWarps + warp();
  if (split < num_splits) {
    const uint32_t first_block = split * (kSplitKeys / kKvBlock);
    const uint32_t blocks_left = tiles_for(num_keys, kKvBlock) - first_block;
    const uint32_t num_blocks =
        blocks_left < kSplitKeys / kKvBlock ? blocks_left : kSplitKeys / kKvBlock;
    typename A::Block next;
    const uint64_t first = A::cache_at(args, sequence, kv_head, first_block);
    next.load(args.k_cache + first, args.v_cache + first);
    const uint32_t column = Fragment::b_token(lane());
    typename A::Queries queries;
    queries.load(column < args.group
                     ? args.q + (token * num_heads + kv_head * args.group + column) * kHeadDim
                     : nullptr);
    typename A::State state;
    state.clear();
    for (uint32_t i = 0; i < num_blocks; ++i) {
      typename A::Block block = next;
      if (i + 1 < num_blocks) {
        const uint64_t at = A::cache_at(args, sequence, kv_head, first_block + i + 1);
        next.load(args.k_cache + at, args.v_cache + at);
      }
      const uint32_t keys = num_keys - (first_block + i) * kKvBlock;
      if (keys < kKvBlock) block.clear_values(keys);
      int32_t limit[Fragment::kTokensOfLane];
      TETRAD_UNROLL
      for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
        limit[t] = static_cast<int32_t>(keys);
      A::take(state, block, queries, limit, keys >= kKvBlock);
    }
    A::gather(state);
    float* mine = args.partial + (of_sequence + split) * partial_floats<Fragment>(kHeadDim);
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < A::kRowTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        mine[(tile * 32 + lane()) * Fragment::kD + i] = state.sums[tile][i];
    }
    float* ends = mine + A::kRowTiles * 32 * Fragment::kD + lane() * 2 * Fragment::kTokensOfLane;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      ends[2 * i] = state.largest[i];
      ends[2 * i + 1] = state.denominator[i];
    }
  }

  sync_block();
  if (thread_index() == 0) {
    fence_device();
    uint32_t* counter = args.finished + block_z() * args.num_kv_heads + kv_head;
    *is_last = atomic_increment(counter) + 1 == tiles_for(num_splits, kAttendWarps) ? 1 : 0;
    if (*is_last != 0) *counter = 0;
  }
  sync_block();
  if (*is_last == 0) return;

  // A warp merges some tiles of dimensions of all splits.
  for (uint32_t tile = warp(); tile < A::kRowTiles; tile += kAttendWarps) {
    float largest[Fragment::kTokensOfLane];
    float denominator[Fragment::kTokensOfLane];
    float sums[Fragment::kD];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      largest[i] = -1e9f;
      denominator[i] = 0;
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      sums[i] = 0;
    constexpr uint32_t kAtOnce = 8;
    for (uint32_t first = 0; first < num_splits; first += kAtOnce) {
      float their_sums[kAtOnce][Fragment::kD];
      float their_ends[kAtOnce][2 * Fragment::kTokensOfLane];
      TETRAD_UNROLL
      for (uint32_t s = 0; s < kAtOnce; ++s) {
        if (first + s >= num_splits) break;
        const float* theirs =
            args.partial + (of_sequence + first + s) * partial_floats<Fragment>(kHeadDim);
        const float* ends =
            theirs + A::kRowTiles * 32 * Fragment::kD + lane() * 2 * Fragment::kTokensOfLane;
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          their_sums[s][i] = load_fresh(theirs + (tile * 32 + lane()) * Fragment::kD + i);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 2 * Fragment::kTokensOfLane; ++i)
          their_ends[s][i] = load_fresh(ends + i);
      }
      TETRAD_UNROLL
      for (uint32_t s = 0; s < kAtOnce; ++s) {
        if (first + s >= num_splits) break;
        TETRAD_UNROLL
        for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
          float of_total;
          float of_split;
          merge_factors(largest[t], their_ends[s][2 * t], of_total, of_split);
          denominator[t] =
              fused_multiply_add(their_ends[s][2 * t + 1], of_split, denominator[t] * of_total);
          TETRAD_UNROLL
          for (uint32_t i = t; i < Fragment::kD; i += Fragment::kTokensOfLane)
            sums[i] = fused_multiply_add(their_sums[s][i], of_split, sums[i] * of_total);
        }
      }
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t column = Fragment::d_token(lane(), i);
      if (column < args.group)
        A::store(args, token, kv_head * args.group + column,
                 A::dim_of_row(tile, Fragment::d_row(lane(), i)),
                 divide(sums[i], denominator[i % Fragment::kTokensOfLane]) * args.v_scale);
    }
  }
}

inline constexpr uint32_t kPrefillTiles = kPrefillTilesOf<Fragment>;

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_prefill(const AttentionArgs& args) {
  using A = Attention<kHeadDim>;
  wait_for_launches_before();
  let_next_launch_begin();
  const uint32_t item = block_x() * kPrefillWarps + warp();
  if (item >= args.num_items) return;
  const auto sequence = static_cast<uint32_t>(args.items[2 * item]);
  const auto first_column = static_cast<uint32_t>(args.items[2 * item + 1]);
  const uint32_t kv_head = block_y();
  const auto context = static_cast<uint32_t>(args.context_len[sequence]);
  const auto query_len = static_cast<uint32_t>(args.query_len[sequence]);
  const auto first_token = static_cast<uint64_t>(args.query_start[sequence]);
  const uint32_t num_columns = query_len * args.group;
  const uint32_t num_heads = args.num_kv_heads * args.group;

  typename A::Queries queries[kPrefillTiles];
  typename A::State total[kPrefillTiles];
  int32_t last_key[kPrefillTiles][Fragment::kTokensOfLane];  // the last one a lane's token sees
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kPrefillTiles; ++n) {
    const uint32_t first = first_column + n * Fragment::kTokens;
    const uint32_t mine = first + Fragment::b_token(lane());
    queries[n].load(mine < num_columns ? args.q + ((first_token + mine / args.group) * num_heads +
                                                   kv_head * args.group + mine % args.group) *
                                                      kHeadDim
                                       : nullptr);
    total[n].clear();
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
      const uint32_t column = first + Fragment::d_token(lane(), t);
      last_key[n][t] = static_cast<int32_t>(context + column / args.group);
    }
  }
  uint32_t last_column = first_column + kPrefillTiles * Fragment::kTokens - 1;
  if (last_column >= num_columns) last_column = num_columns - 1;
  // Keys that any column sees, that the first one sees, and that there are.
  const uint32_t num_keys = context + last_column / args.group + 1;
  const uint32_t seen_by_all = context + first_column / args.group + 1;
  const uint32_t written = context + query_len;

  const uint32_t num_blocks = tiles_for(num_keys, kKvBlock);
  typename A::Block next;
  const uint64_t begin = A::cache_at(args, sequence, kv_head, 0);
  next.load(args.k_cache + begin, args.v_cache + begin);
  typename A::State split[kPrefillTiles];
  for (uint32_t index = 0; index < num_blocks; ++index) {
    if (index % (kSplitKeys / kKvBlock) == 0) {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kPrefillTiles; ++n)
        split[n].clear();
    }
    typename A::Block block = next;
    if (index + 1 < num_blocks) {
      const uint64_t at = A::cache_at(args, sequence, kv_head, index + 1);
      next.load(args.k_cache + at, args.v_cache + at);
    }
    const uint32_t first_key = index * kKvBlock;
    if (first_key + kKvBlock > written) block.clear_values(written - first_key);
    const bool sees_all = first_key + kKvBlock <= seen_by_all;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kPrefillTiles; ++n) {
      int32_t limit[Fragment::kTokensOfLane];
      TETRAD_UNROLL
      for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
        limit[t] = last_key[n][t] + 1 - static_cast<int32_t>(first_key);
      A::take(split[n], block, queries[n], limit, sees_all);
    }
    if ((index + 1) % (kSplitKeys / kKvBlock) == 0 || index + 1 == num_blocks) {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kPrefillTiles; ++n) {
        A::gather(split[n]);
        A::merge(total[n], split[n]);
      }
    }
  }

  TETRAD_UNROLL
  for (uint32_t n = 0; n < kPrefillTiles; ++n) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t column = first_column + n * Fragment::kTokens + Fragment::d_token(lane(), i);
      if (column >= num_columns) continue;
      const float denominator = total[n].denominator[i % Fragment::kTokensOfLane];
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile)
        A::store(args, first_token + column / args.group,
                 kv_head * args.group + column % args.group,
                 A::dim_of_row(tile, Fragment::d_row(lane(), i)),
                 divide(total[n].sums[tile][i], denominator) * args.v_scale);
    }
  }
}

TETRAD_KERNEL(attend_decode_64, AttentionArgs, 256) {
  attend_decode<64>(args);
}
TETRAD_KERNEL(attend_decode_128, AttentionArgs, 256) {
  attend_decode<128>(args);
}
TETRAD_KERNEL(attend_prefill_64, AttentionArgs, 128) {
  attend_prefill<64>(args);
}
TETRAD_KERNEL(attend_prefill_128, AttentionArgs, 128) {
  attend_prefill<128>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
