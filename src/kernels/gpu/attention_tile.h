#pragma once

// Causal attention over the paged FP8 cache, as decode and prefill share it; prefill by wgmma has
// it the other way round, with the same sums (prefill_rows.h). Keys and values are what is
// streamed, so they are A and the queries are B: S^T = K Q^T, and P^T, which is what S^T becomes,
// is the B of O^T = V^T P^T. The columns of a tile are pairs of a token and one of the query heads
// that share a KV head. Lanes load pieces of rows of the cache as they lie there; which dimension
// of a head stands where follows from that (dim_of_row, dims of first_k) and is the same for both
// operands.
//
// Keys are cut at fixed positions: into splits of kSplitKeys, and kAttendWarps splits are a group.
// A split has one maximum, of all its scores, and its sums begin at zero: first all its products
// with the keys, then the softmax, then all with the values, and with ones, which adds up the
// weights. The splits of a group are merged in order, then the groups. Maxima are rounded up to
// integers (the scores are exponents of two), so merging multiplies by powers of two, exactly.
// Decode (paged_attention.h) computes a group by a block, a split by a warp, and the last block to
// finish or another launch merges the groups; prefill (prefill_attention.h) merges as it goes. Both
// do the same operations on the same numbers, so the bits are the same.

#include "gpu/fragment.h"
#include "kernels/gpu/packed_matrix.h"
#include "kernels/gpu/qk_norm_rope.h"

namespace tetrad::gpu {

inline constexpr uint32_t kSplitKeys = 64;  // a multiple of kKvBlock
inline constexpr uint32_t kSplitBlocks = kSplitKeys / kKvBlock;
inline constexpr uint32_t kAttendWarps = 8;
inline constexpr uint32_t kGroupKeys = kSplitKeys * kAttendWarps;
inline constexpr uint32_t kMaxGroup = 8;  // query heads of a KV head
/// Of launches whose sequences have more groups, a launch of its own merges them (merge_groups.h).
inline constexpr uint32_t kGroupsOfLastBlock = 16;
/// Into how many parts decode cuts a head's dimensions to merge splits: gfx12 has 64 KiB of shared
/// memory for a block.
template <class F>
inline constexpr uint32_t kMergePartsOf = F::kTokens / 8;
/// Columns of a sequence that a block of prefill takes: as many as its tiles have, or those left.
struct PrefillItem {
  int32_t sequence = 0;
  int32_t first_column = 0;
};

/// Sequences of a step; of each, query_len rows of the batch from query_start on.
struct AttentionArgs {
  const uint16_t* q = nullptr;       // of prefill: [T, num_heads * head_dim] halves, times
                                     // kE4m3Factor and more (qk_norm_rope.h)
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

  // Decode: one query a sequence. Grid: (any, num_kv_heads, sequences); the blocks of a sequence
  // take its groups of keys in turn, and those that would have none return.
  const int32_t* sequences = nullptr;  // [grid z]: which of the sequences
  float* partial = nullptr;            // [grid z, num_kv_heads, max_groups, partial_floats]
  uint32_t max_groups = 0;             // of the longest sequence, at least
  uint32_t* finished = nullptr;        // [grid z, num_kv_heads], 0 before and after

  // Prefill. Grid: (num_kv_heads, num_items); of attend_prefill_rows any.
  const PrefillItem* items = nullptr;  // what takes longest first
  uint32_t num_items = 0;
};

/// What attend_decode leaves of sequences with more groups than its last block takes.
struct MergeGroupsArgs {
  AttentionArgs attention;  // of the launch of attend_decode
};

/// Floats of what is left of one split or group: every lane's sums, then of each token the maximum
/// and the denominator.
template <class F>
constexpr uint32_t partial_floats(uint32_t head_dim) {
  return 32 * (head_dim / 16 * F::kD) + 2 * F::kTokens;
}

/// Halves between the queries of a decode block: lanes that load together find theirs in different
/// banks.
inline constexpr uint32_t kQueryPadding = 8;

/// Of a decode block: the splits, a flag, and what becomes of the token's q, k and v.
template <class F>
constexpr uint32_t attend_decode_shared_bytes(uint32_t head_dim) {
  return (kAttendWarps * partial_floats<F>(head_dim / kMergePartsOf<F>) + 4) * 4 +
         head_dim * (kMaxGroup * 2 + 2) + kMaxGroup * kQueryPadding * 2;
}

// A block of gfx12 has 64 KiB.
static_assert(attend_decode_shared_bytes<Gfx12Fragment>(128) <= 65536);

namespace TETRAD_MACHINE {

/// Of a tile of columns: per lane, as D's registers go.
template <uint32_t kHeadDim>
struct SoftmaxState {
  static constexpr uint32_t kRowTiles = kHeadDim / 16;
  float largest[Fragment::kTokensOfLane];  // an integer
  float denominator[Fragment::kTokensOfLane];
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
};

/// 2^n for an integer n <= 0, exactly; 0 where that is no normal float.
TETRAD_DEVICE float exact_power(float n) {
  // Adding 1.5 * 2^23 + 127 leaves n + 127 in the lowest bits.
  const uint32_t bits = __builtin_bit_cast(uint32_t, n + 12583039.0f);
  return n < -126.0f ? 0.0f : __builtin_bit_cast(float, bits << 23);
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

  /// A block of 16 keys or of 16 values as a lane holds it, or the `part`th of kParts of it: of
  /// keys some of the steps, of values some of the tiles.
  template <uint32_t kParts>
  struct Block {
    static constexpr uint32_t kKeyWordsOfPart = kKeyWords / kParts;
    static constexpr uint32_t kValueWordsOfPart = kValueWords / kParts;
    static_assert(kRowsOfLane * kKeyWords == kColumnsOfLane * kValueWords);
    static_assert(kValueWords % kParts == 0);
    uint32_t words[kRowsOfLane * kKeyWordsOfPart];

    TETRAD_DEVICE void load_keys(const uint8_t* k, uint32_t part) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i)
        load_words<kKeyWordsOfPart>(
            i * kKeyWordsOfPart,
            k + Fragment::a_row(lane(), i) * kHeadDim +
                Fragment::first_k(lane()) / kColumnsOfLane * (kHeadDim / kLanesOfRow) +
                part * kKeyWordsOfPart * 4);
    }
    TETRAD_DEVICE void load_values(const uint8_t* v, uint32_t part) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kColumnsOfLane; ++j)
        load_words<kValueWordsOfPart>(j * kValueWordsOfPart,
                                      v + Fragment::row_of_k(lane(), j) * kHeadDim +
                                          Fragment::a_row(lane(), 0) * kDimsOfLane +
                                          part * kValueWordsOfPart * 4);
    }
    TETRAD_DEVICE void clear() {
      TETRAD_UNROLL
      for (uint32_t& word : words)
        word = 0;
    }
    /// Row `row`'s key or value, which is not in the cache yet. Of whole blocks.
    TETRAD_DEVICE void set_key(uint32_t row, const uint8_t* key) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i) {
        if (Fragment::a_row(lane(), i) == row)
          load_words<kKeyWords>(i * kKeyWords, key + Fragment::first_k(lane()) / kColumnsOfLane *
                                                         (kHeadDim / kLanesOfRow));
      }
    }
    TETRAD_DEVICE void set_value(uint32_t row, const uint8_t* value) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kColumnsOfLane; ++j) {
        if (Fragment::row_of_k(lane(), j) == row)
          load_words<kValueWords>(j * kValueWords,
                                  value + Fragment::a_row(lane(), 0) * kDimsOfLane);
      }
    }
    /// Values of keys from `count` on become zero: what was never written may be NaN.
    TETRAD_DEVICE void clear_values(uint32_t count, uint32_t l) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kColumnsOfLane; ++j) {
        const bool is_there = Fragment::row_of_k(l, j) < count;
        TETRAD_UNROLL
        for (uint32_t w = 0; w < kValueWordsOfPart; ++w)
          words[j * kValueWordsOfPart + w] = is_there ? words[j * kValueWordsOfPart + w] : 0;
      }
    }

    /// A of S^T's step `step` of the part's.
    TETRAD_DEVICE void keys_as_a(uint32_t step, uint32_t (&a)[Fragment::kA]) const {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRowsOfLane; ++i) {
        TETRAD_UNROLL
        for (uint32_t j = 0; j < kColumnsOfLane / 2; ++j) {
          const uint32_t byte = step * kColumnsOfLane + 2 * j;
          a[Fragment::a_register(i, j)] =
              e4m3_as_halves(words[i * kKeyWordsOfPart + byte / 4], byte % 4 / 2);
        }
      }
    }
    /// A of O^T's tile `tile` of the part's.
    TETRAD_DEVICE void values_as_a(uint32_t tile, uint32_t (&a)[Fragment::kA]) const {
      const uint32_t byte = tile * kRowsOfLane;
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kColumnsOfLane / 2; ++j) {
        const uint32_t first = words[2 * j * kValueWordsOfPart + byte / 4];
        const uint32_t second = words[(2 * j + 1) * kValueWordsOfPart + byte / 4];
        if constexpr (kRowsOfLane == 2) {
          const uint32_t both = bytes_in_turn(first, second, byte % 4);
          a[Fragment::a_register(0, j)] = e4m3_as_halves(both, 0);
          a[Fragment::a_register(1, j)] = e4m3_as_halves(both, 1);
        } else {
          a[Fragment::a_register(0, j)] = e4m3_as_halves(first, byte % 4, second, byte % 4);
        }
      }
    }

   private:
    template <uint32_t kWords>
    TETRAD_DEVICE void load_words(uint32_t first, const uint8_t* from) {
      if constexpr (kWords % 4 == 0) {
        TETRAD_UNROLL
        for (uint32_t w = 0; w < kWords; w += 4) {
          const Words4 four = *reinterpret_cast<const Words4*>(from + 4 * w);
          TETRAD_UNROLL
          for (uint32_t i = 0; i < 4; ++i)
            words[first + w + i] = four.word[i];
        }
      } else if constexpr (kWords == 2) {
        const Words2 two = *reinterpret_cast<const Words2*>(from);
        words[first] = two.word[0];
        words[first + 1] = two.word[1];
      } else {
        words[first] = *reinterpret_cast<const uint32_t*>(from);
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
      for (uint32_t at = 0; at < kSteps * Fragment::kB; at += 4) {
        Words4 four = {};
        if (head != nullptr) four = *reinterpret_cast<const Words4*>(head + first + 2 * at);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 4; ++i)
          b[(at + i) / Fragment::kB][(at + i) % Fragment::kB] = four.word[i];
      }
    }
    TETRAD_DEVICE void as_b(uint32_t step, uint32_t (&to)[Fragment::kB]) const {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kB; ++i)
        to[i] = b[step][i];
    }
  };

  /// Scores of the keys of a split's block for kTiles tiles of columns, exponents of two.
  /// `keys_as_a`: (step, a), `queries_as_b`: (tile, step, b).
  template <uint32_t kTiles, class KeysAsA, class QueriesAsB>
  TETRAD_DEVICE static void scores(const KeysAsA& keys_as_a, const QueriesAsB& queries_as_b,
                                   uint32_t block, float (&s)[kTiles][kSplitBlocks][Fragment::kD]) {
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        s[n][block][i] = 0;
    }
    TETRAD_UNROLL
    for (uint32_t step = 0; step < kSteps; ++step) {
      uint32_t a[Fragment::kA];
      keys_as_a(step, a);
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n) {
        uint32_t b[Fragment::kB];
        queries_as_b(n, step, b);
        Fragment::multiply_add(s[n][block], a, b);
      }
    }
  }

  /// Scores of a block's keys from limit[t] on, which token t of the lane does not see, become
  /// nothing.
  TETRAD_DEVICE static void mask(float (&s)[Fragment::kD],
                                 const int32_t (&limit)[Fragment::kTokensOfLane], uint32_t l) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      if (static_cast<int32_t>(Fragment::d_row(l, i)) >= limit[i % Fragment::kTokensOfLane])
        s[i] = -1e9f;
    }
  }

  /// From a split's scores to its weights, as B of the product with the values, and the maximum of
  /// each token of the lane. Tiles go together, since each step waits for the one before.
  template <uint32_t kTiles>
  TETRAD_DEVICE static void soften(const float (&s)[kTiles][kSplitBlocks][Fragment::kD],
                                   float (&largest)[kTiles][Fragment::kTokensOfLane],
                                   uint32_t (&b)[kTiles][kSplitBlocks][Fragment::kB]) {
    constexpr uint32_t kTokens = Fragment::kTokensOfLane;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t) {
        largest[n][t] = s[n][0][t];
        TETRAD_UNROLL
        for (uint32_t block = 0; block < kSplitBlocks; ++block) {
          TETRAD_UNROLL
          for (uint32_t i = t; i < Fragment::kD; i += kTokens)
            largest[n][t] = larger(largest[n][t], s[n][block][i]);
        }
      }
    }
    // Of all lanes that share a token.
    TETRAD_UNROLL
    for (uint32_t step = 1; step < 32; step *= 2) {
      if ((Fragment::kRowLanes & step) == 0) continue;
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n) {
        TETRAD_UNROLL
        for (uint32_t t = 0; t < kTokens; ++t)
          largest[n][t] = larger(largest[n][t], shuffle_xor(largest[n][t], step));
      }
    }
    float from[kTiles][kTokens];
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t) {
        largest[n][t] = round_up(largest[n][t]);
        // Where nothing is visible all weights are 0.
        from[n][t] = largest[n][t] <= -1e9f ? 0.0f : largest[n][t];
      }
    }
    TETRAD_UNROLL
    for (uint32_t block = 0; block < kSplitBlocks; ++block) {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n) {
        uint32_t p[Fragment::kD / 2];
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; i += 2)
          p[i / 2] = small_floats_to_halves(
              power_of_two_for_half(s[n][block][i] - from[n][0]),
              power_of_two_for_half(s[n][block][i + 1] - from[n][kTokens - 1]));
        Fragment::as_b(b[n][block], p);
      }
    }
  }

  /// The sums of a split's weights, of the lane's tokens: a product with ones, which adds up those
  /// of all lanes.
  TETRAD_DEVICE static void sum_weights(const uint32_t (&b)[kSplitBlocks][Fragment::kB],
                                        float (&sums)[Fragment::kTokensOfLane]) {
    uint32_t ones[Fragment::kA];
    TETRAD_UNROLL
    for (uint32_t& one : ones)
      one = 0x3C003C00u;
    float d[Fragment::kD];
    TETRAD_UNROLL
    for (float& value : d)
      value = 0;
    TETRAD_UNROLL
    for (const auto& of_block : b)
      Fragment::multiply_add(d, ones, of_block);
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
      sums[t] = d[t];
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

  /// Where the ends (maxima and denominators) of a lane's tokens stand in a partial of so many
  /// tiles.
  template <uint32_t kTiles = kRowTiles>
  TETRAD_DEVICE static uint32_t ends_at() {
    return kTiles * 32 * Fragment::kD + Fragment::d_token(lane(), 0) * 2;
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
    put_ends(partial + ends_at<kTiles>(), state.largest, state.denominator);
  }
  /// Maxima and denominators side by side, by one of the lanes that have them.
  TETRAD_DEVICE static void put_ends(float* to, const float (&largest)[Fragment::kTokensOfLane],
                                     const float (&denominator)[Fragment::kTokensOfLane]) {
    if ((lane() & Fragment::kRowLanes) != 0) return;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i)
      *reinterpret_cast<Words2*>(to + 2 * i) = {
          {__builtin_bit_cast(uint32_t, largest[i]), __builtin_bit_cast(uint32_t, denominator[i])}};
  }
  TETRAD_DEVICE static void get_ends(const float* from,
                                     float (&ends)[2 * Fragment::kTokensOfLane]) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      const Words2 two = *reinterpret_cast<const Words2*>(from + 2 * i);
      ends[2 * i] = __builtin_bit_cast(float, two.word[0]);
      ends[2 * i + 1] = __builtin_bit_cast(float, two.word[1]);
    }
  }

  /// A KV head's part of a block of the cache.
  TETRAD_DEVICE static uint64_t cache_at(const AttentionArgs& args, uint32_t kv_head,
                                         uint32_t physical_block) {
    return (static_cast<uint64_t>(physical_block) * args.num_kv_heads + kv_head) *
           (kKvBlock * kHeadDim);
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
