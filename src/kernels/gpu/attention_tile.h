#pragma once

// Causal attention over the paged FP8 cache. Keys and values are what is streamed, so they are A
// and the queries are B: S^T = K Q^T, and P^T, which is what S^T becomes, is the B of O^T = V^T
// P^T. The columns of a tile are pairs of a token and one of the query heads that share a KV head.
// Lanes load pieces of rows of the cache as they lie there; which dimension of a head stands where
// follows from that (dim_of_row, dims of first_k) and is the same for both operands.
//
// Keys are cut at fixed positions: into splits of kSplitKeys, and kAttendWarps splits are a group.
// Within a split the softmax is online, by blocks of 16 keys, from nothing; the splits of a group
// are merged in order, then the groups. Maxima are rounded up to integers (the scores are exponents
// of two), so merging multiplies by powers of two, exactly. Decode computes a group in a block, a
// split in a warp, and the last block to finish merges the groups; prefill merges as it goes. Both
// do the same operations on the same numbers, so the bits are the same.

#include "gpu/fragment.h"
#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

inline constexpr uint32_t kKvBlock = 16;    // kKvBlockSize of kernels/batch.h
inline constexpr uint32_t kSplitKeys = 64;  // a multiple of kKvBlock
inline constexpr uint32_t kSplitBlocks = kSplitKeys / kKvBlock;
inline constexpr uint32_t kAttendWarps = 8;
inline constexpr uint32_t kGroupKeys = kSplitKeys * kAttendWarps;
inline constexpr uint32_t kMaxGroup = 8;  // query heads of a KV head
/// gfx12 has 64 KiB of shared memory for a block, which four warps would go beyond.
template <class F>
inline constexpr uint32_t kPrefillWarpsOf = 32 / F::kTokens;
/// Into how many parts decode cuts a head's dimensions to merge splits, for the same reason.
template <class F>
inline constexpr uint32_t kMergePartsOf = F::kTokens / 8;
/// Converted keys and values are used for so many tiles of columns; registers allow no more.
template <class F>
inline constexpr uint32_t kPrefillTilesOf = 16 / F::kTokens;

/// Sequences of a step; of each, query_len rows of the batch from query_start on.
struct AttentionArgs {
  const uint16_t* q = nullptr;       // [T, num_heads * head_dim] halves, times kE4m3Factor and more
                                     // (qk_norm_rope.h)
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

  // Decode: one query a sequence. Grid: (max_groups, num_kv_heads, sequences), for as many groups
  // of keys as the longest sequence may have; blocks beyond a sequence's end return.
  const int32_t* sequences = nullptr;  // [grid z]: which of the sequences
  float* partial = nullptr;            // [grid z, num_kv_heads, max_groups, partial_floats]
  uint32_t max_groups = 0;
  uint32_t* finished = nullptr;  // [grid z, num_kv_heads], 0 before and after

  // Prefill: a warp takes kPrefillTiles tiles of columns of a sequence. Grid: (items /
  // kPrefillWarpsOf, num_kv_heads).
  const int32_t* items = nullptr;  // [num_items, 2]: a sequence, and the first column
  uint32_t num_items = 0;
};

/// Floats of what is left of one split or group: every lane's sums, then maxima and denominators.
template <class F>
constexpr uint32_t partial_floats(uint32_t head_dim) {
  return 32 * (head_dim / 16 * F::kD + 2 * F::kTokensOfLane);
}

template <class F>
constexpr uint32_t attend_decode_shared_bytes(uint32_t head_dim) {
  return (kAttendWarps * partial_floats<F>(head_dim / kMergePartsOf<F>) + 4) * 4;
}
/// Of each tile of a warp the group and the total.
template <class F>
constexpr uint32_t attend_prefill_shared_bytes(uint32_t head_dim) {
  return kPrefillWarpsOf<F> * kPrefillTilesOf<F> * 2 * partial_floats<F>(head_dim) * 4;
}

// A block of gfx12 has 64 KiB.
static_assert(attend_decode_shared_bytes<Gfx12Fragment>(128) <= 65536);
static_assert(attend_prefill_shared_bytes<Gfx12Fragment>(128) <= 65536);

/// What e4m3_as_halves takes from a value: q and the output are multiplied by it once instead of
/// each key and value.
inline constexpr float kE4m3Factor = 256;

namespace TETRAD_MACHINE {

/// Two E4M3 numbers over kE4m3Factor as halves, exactly: sign, exponent and mantissa in their
/// places. Four simple operations for two numbers; the instructions that convert are fewer, and
/// slower.
TETRAD_DEVICE uint32_t e4m3_as_halves(uint32_t above) {
  return (above & 0x80008000u) | (above >> 1 & 0x3F803F80u);
}

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

    TETRAD_DEVICE void load_keys(const uint8_t* k) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i)
        load_words<kKeyWords>(
            keys[i], k + Fragment::a_row(lane(), i) * kHeadDim +
                         Fragment::first_k(lane()) / kColumnsOfLane * (kHeadDim / kLanesOfRow));
    }
    TETRAD_DEVICE void load_values(const uint8_t* v) {
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

  /// Scores of 16 keys for kTiles tiles of columns: exponents of two. Even and odd steps are chains
  /// of their own: a chain waits for itself.
  template <uint32_t kTiles>
  TETRAD_DEVICE static void scores(const Block& block, const Queries (&queries)[kTiles],
                                   float (&s)[kTiles][Fragment::kD]) {
    float odd[kTiles][Fragment::kD];
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        s[n][i] = odd[n][i] = 0;
    }
    TETRAD_UNROLL
    for (uint32_t step = 0; step < kSteps; ++step) {
      uint32_t a[Fragment::kA];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i) {
        TETRAD_UNROLL
        for (uint32_t j = 0; j < kColumnsOfLane / 2; ++j) {
          const uint32_t byte = step * kColumnsOfLane + 2 * j;
          a[Fragment::a_register(i, j)] = e4m3_as_halves(bytes_above(
              block.keys[i][byte / 4], byte % 4, block.keys[i][byte / 4], byte % 4 + 1));
        }
      }
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n)
        Fragment::multiply_add(step % 2 == 0 ? s[n] : odd[n], a, queries[n].b[step]);
    }
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        s[n][i] += odd[n][i];
    }
  }

  /// From scores to weights, as B of the product with the values. `limit[n][i]`: keys of the block
  /// that token i of the lane in tile n sees.
  template <uint32_t kTiles>
  TETRAD_DEVICE static void soften(State (&state)[kTiles], float (&s)[kTiles][Fragment::kD],
                                   const int32_t (&limit)[kTiles][Fragment::kTokensOfLane],
                                   bool sees_all, uint32_t (&b)[kTiles][Fragment::kB]) {
    float largest[kTiles][Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
        largest[n][i] = -1e9f;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i) {
        const uint32_t token = i % Fragment::kTokensOfLane;
        if (!sees_all && static_cast<int32_t>(Fragment::d_row(lane(), i)) >= limit[n][token])
          s[n][i] = -1e9f;
        largest[n][token] = larger(largest[n][token], s[n][i]);
      }
    }
    TETRAD_UNROLL
    for (uint32_t step = 1; step < 32; step *= 2) {
      if ((Fragment::kRowLanes & step) == 0) continue;
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
          largest[n][i] = larger(largest[n][i], shuffle_xor(largest[n][i], step));
      }
    }
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      float factor[Fragment::kTokensOfLane];
      bool grows = false;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
        const float now = larger(state[n].largest[i], round_up(largest[n][i]));
        factor[i] = exact_power(state[n].largest[i] - now);
        grows = grows || now > state[n].largest[i];
        state[n].largest[i] = now;
      }
      if (grows) state[n].scale(factor);
      float p[Fragment::kD];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i) {
        const uint32_t token = i % Fragment::kTokensOfLane;
        // What is masked is 0 also where nothing is visible and the difference is 0.
        p[i] = s[n][i] == -1e9f ? 0.0f : power_of_two(s[n][i] - state[n].largest[token]);
        p[i] = half_to_float(float_to_half(p[i]));
        state[n].denominator[token] += p[i];
      }
      Fragment::as_b(b[n], p);
    }
  }

  /// sums += V^T P^T.
  template <uint32_t kTiles>
  TETRAD_DEVICE static void add_values(State (&state)[kTiles], const Block& block,
                                       const uint32_t (&b)[kTiles][Fragment::kB]) {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile) {
      uint32_t a[Fragment::kA];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i) {
        const uint32_t byte = tile * kRowsOfLane + i;
        TETRAD_UNROLL
        for (uint32_t j = 0; j < kColumnsOfLane / 2; ++j)
          a[Fragment::a_register(i, j)] =
              e4m3_as_halves(bytes_above(block.values[2 * j][byte / 4], byte % 4,
                                         block.values[2 * j + 1][byte / 4], byte % 4));
      }
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n)
        Fragment::multiply_add(state[n].sums[tile], a, b[n]);
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

  /// Where a lane's ends (maxima and denominators) stand in a partial of so many tiles.
  template <uint32_t kTiles = kRowTiles>
  TETRAD_DEVICE static uint32_t ends_at() {
    return kTiles * 32 * Fragment::kD + lane() * 2 * Fragment::kTokensOfLane;
  }
  /// A lane's numbers of one tile of dimensions in a partial: 16 bytes at a time, without which
  /// four lanes would want one bank.
  TETRAD_DEVICE static void get(const float* partial, uint32_t tile, float (&sums)[Fragment::kD]) {
    const auto* from =
        reinterpret_cast<const Words4*>(partial + (tile * 32 + lane()) * Fragment::kD);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; i += 4) {
      const Words4 words = from[i / 4];
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        sums[i + j] = __builtin_bit_cast(float, words.word[j]);
    }
  }
  TETRAD_DEVICE static void put(float* partial, uint32_t tile, const float (&sums)[Fragment::kD]) {
    auto* to = reinterpret_cast<Words4*>(partial + (tile * 32 + lane()) * Fragment::kD);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; i += 4) {
      Words4 words;
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        words.word[j] = __builtin_bit_cast(uint32_t, sums[i + j]);
      to[i / 4] = words;
    }
  }

  /// kTiles tiles of dimensions from kFirst on.
  template <uint32_t kFirst = 0, uint32_t kTiles = kRowTiles>
  TETRAD_DEVICE static void save(float* partial, const State& state) {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kTiles; ++tile)
      put(partial, tile, state.sums[kFirst + tile]);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      partial[ends_at<kTiles>() + 2 * i] = state.largest[i];
      partial[ends_at<kTiles>() + 2 * i + 1] = state.denominator[i];
    }
  }
  /// A partial in which nothing is merged.
  TETRAD_DEVICE static void save_nothing(float* partial) {
    State nothing;
    nothing.clear();
    save(partial, nothing);
  }
  /// partial = partial and state together, as MergedTile::take does.
  TETRAD_DEVICE static void merge(float* partial, const State& state) {
    float of_total[Fragment::kTokensOfLane];
    float of_other[Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
      float largest = partial[ends_at() + 2 * t];
      merge_factors(largest, state.largest[t], of_total[t], of_other[t]);
      partial[ends_at() + 2 * t] = largest;
      partial[ends_at() + 2 * t + 1] = fused_multiply_add(
          state.denominator[t], of_other[t], partial[ends_at() + 2 * t + 1] * of_total[t]);
    }
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile) {
      float sums[Fragment::kD];
      get(partial, tile, sums);
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[i] = fused_multiply_add(state.sums[tile][i], of_other[i % Fragment::kTokensOfLane],
                                     sums[i] * of_total[i % Fragment::kTokensOfLane]);
      put(partial, tile, sums);
    }
  }
  TETRAD_DEVICE static void load(State& state, const float* partial) {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kRowTiles; ++tile)
      get(partial, tile, state.sums[tile]);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      state.largest[i] = partial[ends_at() + 2 * i];
      state.denominator[i] = partial[ends_at() + 2 * i + 1];
    }
  }

  /// A KV head's part of a block of the cache.
  TETRAD_DEVICE static uint64_t cache_at(const AttentionArgs& args, uint32_t kv_head,
                                         uint32_t physical_block) {
    return (static_cast<uint64_t>(physical_block) * args.num_kv_heads + kv_head) *
           (kKvBlock * kHeadDim);
  }
};

/// One tile of dimensions of a merge over several partials.
struct MergedTile {
  float largest[Fragment::kTokensOfLane];
  float denominator[Fragment::kTokensOfLane];
  float sums[Fragment::kD];

  TETRAD_DEVICE void clear() {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      largest[i] = -1e9f;
      denominator[i] = 0;
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      sums[i] = 0;
  }
  TETRAD_DEVICE void take(const float (&their_sums)[Fragment::kD],
                          const float (&their_ends)[2 * Fragment::kTokensOfLane]) {
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
      float of_total;
      float of_other;
      merge_factors(largest[t], their_ends[2 * t], of_total, of_other);
      denominator[t] =
          fused_multiply_add(their_ends[2 * t + 1], of_other, denominator[t] * of_total);
      TETRAD_UNROLL
      for (uint32_t i = t; i < Fragment::kD; i += Fragment::kTokensOfLane)
        sums[i] = fused_multiply_add(their_sums[i], of_other, sums[i] * of_total);
    }
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
